/** Reading a process' configuration: one schema each, an unknown key is an error, the error names the first wrong field. */
import type { Static, TSchema } from 'typebox';
import { MeshError } from './errors.ts';
import { problemsOf, withDefaults, type Problem } from './type.ts';

interface Parameters {
  readonly additionalProperties?: readonly string[];
  readonly requiredProperties?: readonly string[];
}

/** An unknown key says most about what was meant, then a missing one; a branch of a union that was not meant says least. */
function tell(problems: readonly Problem[]): { readonly at: string; readonly what: string } {
  const of = (keyword: string): Problem | undefined => problems.find((p) => p.keyword === keyword);
  const problem = of('additionalProperties') ?? of('required') ?? problems.find((p) => p.keyword !== 'boolean') ?? problems[0];
  const parameters = problem?.params as Parameters | undefined;
  const key = parameters?.additionalProperties?.[0] ?? parameters?.requiredProperties?.[0];
  // Pointers escape "/" and "~"; a person reads them plain.
  const steps = (problem?.instancePath ?? '').split('/').slice(1).map((s) => s.replaceAll('~1', '/').replaceAll('~0', '~'));
  const at = [...steps, ...(key === undefined ? [] : [key])].join('.');
  const allowed = problems.filter((p) => p.keyword === 'const' && p.instancePath === problem?.instancePath).map((p) => String((p.params as { readonly allowedValue?: unknown }).allowedValue));
  if (problem?.keyword === 'const') return { at, what: `expected ${allowed.join(', ')}` };
  const what = problem?.keyword === 'additionalProperties' || problem?.keyword === 'boolean' ? 'unknown key' : problem?.keyword === 'required' ? 'is required' : (problem?.message ?? 'is wrong');
  return { at, what };
}

/** Defaults filled in, everything checked, frozen. */
export function decodeConfig<S extends TSchema>(schema: S, input: unknown, source: string): Static<S> {
  const value = withDefaults(schema, input);
  const problems = problemsOf(schema, value);
  if (problems.length === 0) return Object.freeze(value) as Static<S>;
  const { at, what } = tell(problems);
  throw new MeshError('invalid', [source, at, what].filter((s) => s !== '').join(': '), { fields: { path: at } });
}
