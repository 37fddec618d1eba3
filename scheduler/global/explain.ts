/** Why something is where it is: from one snapshot, for people and programs. */
import { MeshError } from '../../api/errors.ts';
import type { Why } from '../../api/scheduling.ts';
import type { Snapshot } from './global-scheduler.ts';
import { refusals } from './refusals.ts';

const LISTED = 12;
const listed = (names: readonly string[]): string => (names.length === 0 ? 'none' : `${names.slice(0, LISTED).join(', ')}${names.length > LISTED ? `, and ${names.length - LISTED} more` : ''}`);

/** `name`, `namespace/name` or the whole key, of an application that the caller may know of. `tenant`: of the caller, when it has only one. */
export function keyOfName(snapshot: Snapshot, name: string, isVisible: (key: string) => boolean): string {
  const known = [...snapshot.objects.applications.keys()].filter(isVisible).sort();
  const parts = name.split('/').length;
  const found = parts >= 3 ? known.filter((k) => k === name) : known.filter((k) => k.endsWith(`/${name}`) && (parts === 2 || k.split('/')[2] === name));
  if (found.length === 1) return found[0] as string;
  const next = 'name it as <tenant>/<namespace>/<application>';
  if (found.length > 1) throw new MeshError('invalid', `application: "${name}" is ${listed(found)}`, { fields: { path: 'application' }, next });
  throw new MeshError('not-found', `no application "${name}"; there are ${listed(known)}`, { next });
}

export function requireSites(snapshot: Snapshot, names: readonly string[], path: string): void {
  const known = new Set(snapshot.model.sites.map((s) => s.name));
  for (const [i, name] of names.entries()) if (!known.has(name)) throw new MeshError('not-found', `${path}[${i}]: no site "${name}"; there are ${listed([...known])}`, { fields: { path: `${path}[${i}]` }, next: 'proxima site ls' });
}

export function why(snapshot: Snapshot, key: string, site?: string): Why {
  const planned = snapshot.plan.applications.get(key);
  const model = snapshot.model.applications.find((a) => a.key === key);
  if (planned === undefined || model === undefined) {
    const app = snapshot.objects.applications.get(key);
    throw new MeshError('unavailable', `${key} is not planned: ${app?.status?.message ?? 'not looked at yet'}`, { next: 'kubectl get applications' });
  }
  if (site !== undefined) requireSites(snapshot, [site], 'site');
  const isAsked = (s: { readonly site: string }): boolean => site === undefined || s.site === site;
  const moves = snapshot.objects.placements.get(key)?.status?.moves ?? [];
  return {
    application: key,
    sites: planned.sites.filter(isAsked).map(({ site: name, instances, reason }) => ({ site: name, instances, reason })),
    refused: refusals(snapshot.model, model, snapshot.plan).filter(isAsked),
    goals: planned.goals.filter((g) => site === undefined || g.servedFrom === site),
    unmet: planned.unmet,
    kept: planned.kept,
    moves: moves.filter((m) => site === undefined || m.from === site || m.to === site),
    latencyMs: Math.round(planned.latencyMs * 100) / 100,
    cost: Math.round(planned.cost * 100) / 100,
  };
}
