/** What is simulated: a YAML file. One schema, with units beside every key; an unknown key or a wrong value is refused with its path. */
import type { Static } from 'typebox';
import { parse } from 'yaml';
import { decodeConfig } from '../../api/config.ts';
import type { Json } from '../../api/definition.ts';
import { defaultPolicy, policySpec } from '../../api/definitions/policy.ts';
import { checkPolicy as checkRules } from '../../api/definitions/policy-rules.ts';
import { MeshError } from '../../api/errors.ts';
import type { PolicySpec } from '../../api/kinds/mesh.ts';
import { applyDefaults, type Schema, validate, type Walk } from '../../api/schema.ts';
import { Type } from '../../api/type.ts';
import { POLICIES } from './policies.ts';

const strict = { additionalProperties: false } as const;
const Name = Type.String({ pattern: '^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$' });
const Location = Type.Object({ latitude: Type.Number({ minimum: -90, maximum: 90 }), longitude: Type.Number({ minimum: -180, maximum: 180 }) }, strict);
const Count = (minimum: number, maximum: number): ReturnType<typeof Type.Integer> => Type.Integer({ minimum, maximum });

const Site = Type.Object(
  {
    name: Name, region: Name, location: Location,
    kind: Type.Union([Type.Literal('zone'), Type.Literal('edge')]),
    /** Of one instance-hour. */
    cost: Type.Number({ minimum: 0, default: 1 }),
    carbon: Type.Number({ minimum: 0, default: 0 }),
    trust: Type.Number({ minimum: 0, default: 1 }),
    cpuMilli: Type.Integer({ minimum: 1, default: 8000 }),
    memoryMiB: Type.Integer({ minimum: 1, default: 16_384 }),
  },
  strict,
);

/** A made-up world: zones in the largest cities, edge sites around all of them, by population. */
const World = Type.Object(
  {
    zones: Count(0, 1_000), edges: Count(0, 100_000),
    zoneCost: Type.Number({ minimum: 0, default: 1 }), edgeCost: Type.Number({ minimum: 0, default: 1.5 }),
    zoneInstances: Type.Integer({ minimum: 1, default: 2000 }), edgeInstances: Type.Integer({ minimum: 1, default: 20 }),
  },
  strict,
);
/** Rows of `site,lat,lng,population[,…]`: an edge site each, the `zones` most populous ones also a zone. */
const SiteFile = Type.Object(
  { path: Type.String({ minLength: 1 }), zones: Type.Integer({ minimum: 0, default: 0 }), zoneCost: Type.Number({ minimum: 0, default: 1 }), edgeCost: Type.Number({ minimum: 0, default: 1.5 }), instances: Type.Integer({ minimum: 1, default: 1000 }) },
  strict,
);
const Regions = Type.Array(Type.Object({ name: Name, location: Location, millions: Type.Number({ minimum: 0 }) }, strict), { minItems: 1 });

export const ScenarioSchema = Type.Object(
  {
    name: Name,
    description: Type.String({ default: '' }),
    seed: Type.Integer({ minimum: 0, default: 1 }),
    /** When it begins; the hour of the day matters. */
    start: Type.String({ pattern: '^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d(:\\d\\d)?Z$', default: '2026-03-02T00:00:00Z' }),
    hours: Type.Number({ minimum: 0.01, maximum: 24 * 366 }),
    /** Before so many hours nothing is counted: what reacts and what predicts have both learned by then. */
    warmUpHours: Type.Number({ minimum: 0, default: 0 }),
    /** Seconds between plans. Moves and failures go on in between by the second. */
    stepSeconds: Type.Integer({ minimum: 1, maximum: 3_600, default: 60 }),
    sites: Type.Union([Type.Object({ list: Type.Array(Site, { minItems: 1 }) }, strict), Type.Object({ world: World }, strict), Type.Object({ file: SiteFile }, strict)]),
    /** Where clients are: named, made up by population (`count` of them), or at the sites of the file. */
    clientRegions: Type.Union([Type.Object({ list: Regions }, strict), Type.Object({ count: Count(1, 10_000) }, strict), Type.Object({ atSites: Type.Literal(true) }, strict)]),
    /** A square table of ms with names in its first row and column, or a rule: ms = base + km x msPer1000Km / 1000, each way longer by up to `detourPercent`. */
    rtt: Type.Union(
      [
        Type.Object({ file: Type.String({ minLength: 1 }), localMs: Type.Number({ minimum: 0.01, default: 2 }) }, strict),
        Type.Object({ baseMs: Type.Number({ minimum: 0.01, default: 2 }), msPer1000Km: Type.Number({ minimum: 10, default: 15 }), detourPercent: Type.Number({ minimum: 0, maximum: 500, default: 30 }) }, strict),
      ],
      { default: {} },
    ),
    /** A table `utc,<client region>,…` of requests/s by the hour, or a daily shape: requests/s per million people, at the peak. */
    demand: Type.Union([
      Type.Object({ file: Type.String({ minLength: 1 }), scale: Type.Number({ minimum: 0, default: 1 }), noisePercent: Type.Number({ minimum: 0, maximum: 100, default: 5 }) }, strict),
      Type.Object({ perMillion: Type.Number({ minimum: 0 }), nightPercent: Type.Number({ minimum: 0, maximum: 100, default: 15 }), peakHour: Type.Number({ minimum: 0, maximum: 24, default: 20 }), weekendPercent: Type.Number({ minimum: 0, maximum: 300, default: 100 }), noisePercent: Type.Number({ minimum: 0, maximum: 100, default: 5 }) }, strict),
    ]),
    /** Besides these keys, `policy`: what the spec of a PlacementPolicy is. */
    applications: Type.Array(
      Type.Object(
        {
          name: Name,
          count: Type.Integer({ minimum: 1, maximum: 10_000, default: 1 }),
          /** Of the demand; each of `count` has it. */
          share: Type.Number({ minimum: 0, default: 1 }),
          /** Of the client regions use it, each application others. */
          regionsPercent: Type.Number({ minimum: 0.1, maximum: 100, default: 100 }),
          perInstance: Type.Number({ minimum: 0.01, default: 100 }),
          /** Requests that one instance works on at once; the others wait. */
          workers: Type.Integer({ minimum: 1, maximum: 1_000, default: 8 }),
          cpuMilli: Type.Integer({ minimum: 1, default: 250 }),
          memoryMiB: Type.Integer({ minimum: 1, default: 256 }),
          /** From asking for an instance until it is Ready. */
          startSeconds: Type.Number({ minimum: 0, default: 10 }),
        },
        strict,
      ),
      { minItems: 1 },
    ),
    failures: Type.Array(
      Type.Object(
        {
          /** down: it is dead. uplink: it serves only its own clients. gateway: only its region does not hear it. */
          kind: Type.Union([Type.Literal('down'), Type.Literal('uplink'), Type.Literal('gateway')]),
          sites: Type.Optional(Type.Array(Name, { minItems: 1 })),
          region: Type.Optional(Name),
          /** So many of all, chosen by the seed. */
          randomPercent: Type.Optional(Type.Number({ minimum: 0, maximum: 100 })),
          fromHour: Type.Number({ minimum: 0 }),
          toHour: Type.Number({ minimum: 0 }),
        },
        strict,
      ),
      { default: [] },
    ),
    policies: Type.Array(Type.Union(POLICIES.map((l) => Type.Literal(l))), { minItems: 1, default: [...POLICIES] }),
  },
  strict,
);

type Read = Static<typeof ScenarioSchema>;
export type Scenario = Omit<Read, 'applications' | 'policies'> & { readonly applications: readonly (Omit<Read['applications'][number], 'policy'> & { readonly policy: PolicySpec })[]; readonly policies: readonly string[] };

const bad = (source: string, path: string, message: string): MeshError => new MeshError('invalid', `${source}: ${path}: ${message}`, { fields: { path }, next: 'docs/placement.md has the keys of a scenario' });

export function decodeScenario(text: string, source: string): Scenario {
  let input: unknown;
  try {
    input = parse(text);
  } catch (error) {
    throw new MeshError('invalid', `${source}: not YAML: ${(error as Error).message}`, { cause: error });
  }
  if (input === null || typeof input !== 'object') throw bad(source, '', 'expected a map');
  const policies = takePolicies(input);
  const read = decodeConfig(ScenarioSchema, input, source);
  const applications = read.applications.map((a, i) => ({ ...a, policy: decodePolicy(policies[i] ?? {}, source, `applications.${i}.policy`) }));
  for (const [i, f] of read.failures.entries()) {
    if (f.toHour <= f.fromHour) throw bad(source, `failures.${i}.toHour`, `${f.toHour} is not after fromHour (${f.fromHour})`);
    if ([f.sites, f.region, f.randomPercent].filter((x) => x !== undefined).length !== 1) throw bad(source, `failures.${i}`, 'takes one of sites, region, randomPercent');
  }
  if (read.warmUpHours >= read.hours) throw bad(source, 'warmUpHours', `${read.warmUpHours} leaves nothing of ${read.hours} hours`);
  const twice = read.applications.find((a, i) => read.applications.findIndex((b) => b.name === a.name) !== i);
  if (twice !== undefined) throw bad(source, 'applications', `"${twice.name}" is there twice`);
  if ('atSites' in read.clientRegions && !('file' in read.sites)) throw bad(source, 'clientRegions.atSites', 'needs sites.file');
  return { ...read, applications };
}

/** The policies are of another schema, the API's: taken out before the scenario's looks, and checked by their own. */
function takePolicies(input: object): Json[] {
  const list = (input as { readonly applications?: unknown }).applications;
  if (!Array.isArray(list)) return [];
  return list.map((a: unknown) => {
    if (a === null || typeof a !== 'object' || !('policy' in a)) return {};
    const { policy } = a;
    delete a.policy;
    return policy as Json;
  });
}

function decodePolicy(policy: Json, source: string, path: string): PolicySpec {
  const walk: Walk = { issues: [], unknown: [], resolve: () => ({}) };
  const schema = policySpec as unknown as Schema;
  defaultPolicy(policy);
  applyDefaults(schema, policy, walk.resolve);
  validate(schema, policy, path, walk);
  const issue = walk.unknown[0] ?? walk.issues[0] ?? checkRules(policy, path)[0];
  if (issue !== undefined) throw bad(source, issue.path, issue.message);
  return policy as unknown as PolicySpec;
}
