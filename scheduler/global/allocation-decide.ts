/**
 * (allocation, what is there of it, snapshot, now) -> its status, and which Applications to make or remove. Pure, and all of its memory is in the
 * status: a process that was killed anywhere in between goes on from there.
 *
 *   Pending ---fits---> Placing ---all ready---> Placed
 *      |                   |
 *      +--no--> Failed <-- RollingBack   not ready in time, or refused: everything that was made is removed first
 *
 * Failed is tried again as Pending is, after a pause, unless its spec says never.
 */
import type { Allocation, AllocationGroupStatus, AllocationPhase, AllocationStatus, Application, Placement } from '../../api/kinds/mesh.ts';
import { applicationOf, isCentral, isOwned, membersOf, replicasOf, type Choice, type Member } from './allocation.ts';
import { fitOf } from './allocation-fit.ts';
import type { Snapshot } from './global-scheduler.ts';

export interface Observed {
  readonly allocation: Allocation;
  /** Those of its namespace, by name. */
  readonly applications: ReadonlyMap<string, Application>;
  readonly placements: ReadonlyMap<string, Placement>;
  /** null = nothing was planned yet. */
  readonly snapshot: Snapshot | null;
  readonly now: number;
}

export interface Decision {
  readonly status: AllocationStatus;
  readonly make: readonly Application[];
  readonly remove: readonly Application[];
}

/** So long a status of before may still be in an Application. */
const SETTLE_MS = 10_000;
const DEFAULT_WITHIN_SECONDS = 300;
/** After the first failure, and doubled with each further one. */
const RETRY_MS = 10_000;
const LONGEST_RETRY_MS = 60_000;

/** Is it to be fitted in now, for the first time or again? */
export function isDue({ status, spec }: Allocation, now: number): boolean {
  const phase = status?.phase ?? 'Pending';
  if (phase === 'Pending') return true;
  return phase === 'Failed' && spec.retry !== 'never' && status?.retryAt !== undefined && Date.parse(status.retryAt) <= now;
}

export function decideAllocation(o: Observed): Decision {
  const phase = o.allocation.status?.phase ?? 'Pending';
  switch (phase) {
    case 'Pending':
      return begin(o);
    case 'Placing':
    case 'Placed':
      return keep(o, phase);
    case 'RollingBack':
    case 'Failed':
      return isDue(o.allocation, o.now) && isBare(o) ? begin(o) : takeBack(o, o.allocation.status?.message ?? '');
  }
}

function begin(o: Observed): Decision {
  if (o.snapshot === null) return { status: { phase: 'Pending', message: 'waits until the sites were planned once' }, make: [], remove: [] };
  const fit = fitOf(o.allocation, o.snapshot);
  const attempts = (o.allocation.status?.attempts ?? 0) + 1;
  if ('message' in fit) {
    const groups = groupsOf(o, 'Failed', () => []).map((g) => (g.name === fit.group ? { ...g, message: fit.message } : g));
    return { ...takeBack({ ...o, allocation: { ...o.allocation, status: { groups, attempts } } }, `group ${fit.group}: ${fit.message}`) };
  }
  const groups = groupsOf(o, 'Placing', (m) => fit.sites.get(m.id) ?? []).map((g) => {
    const site = fit.choice.sites.get(g.name);
    return { ...g, ...(site === undefined ? {} : { site }), resources: g.resources.map((r) => ({ ...r, flavor: fit.choice.flavors.get(`${g.name}/${r.name}`) ?? 0 })) };
  });
  return { status: { phase: 'Placing', message: 'everything fits and is being started', startedAt: new Date(o.now).toISOString(), attempts, groups }, make: missing(o, fit.choice), remove: [] };
}

/** What was chosen when it began, from the status. */
function choiceOf(status: AllocationStatus | undefined): Choice {
  const groups = status?.groups ?? [];
  return {
    flavors: new Map(groups.flatMap((g) => g.resources.map((r) => [`${g.name}/${r.name}`, r.flavor ?? 0] as const))),
    sites: new Map(groups.flatMap((g) => (g.site === undefined ? [] : [[g.name, g.site] as const]))),
  };
}

function missing(o: Observed, choice: Choice): readonly Application[] {
  return membersOf(o.allocation).filter((m) => !o.applications.has(m.application)).map((m) => applicationOf(o.allocation, m, choice, o.snapshot?.model.sites ?? []));
}

function keep(o: Observed, phase: 'Placing' | 'Placed'): Decision {
  const { status } = o.allocation;
  const wrong = phase === 'Placing' ? failure(o) : null;
  if (wrong !== null) return takeBack(o, wrong);
  const groups = groupsOf(o, phase, (m) => sitesOf(o, m)).map((g) => {
    const isReady = g.resources.every((r) => r.ready >= r.wanted);
    return { ...before(status, g), phase: isReady ? ('Placed' as const) : phase };
  });
  const isPlaced = phase === 'Placed' || groups.every((g) => g.phase === 'Placed');
  const ready = groups.every((g) => g.phase === 'Placed' && g.resources.every((r) => r.ready >= r.wanted));
  const message = !isPlaced ? 'everything fits and is being started' : ready ? 'all of it is ready' : `placed; ${notReady(groups)}`;
  return { status: { ...status, phase: isPlaced ? 'Placed' : 'Placing', message, groups }, make: missing(o, choiceOf(status)), remove: [] };
}

const notReady = (groups: readonly AllocationGroupStatus[]): string => groups.flatMap((g) => g.resources.filter((r) => r.ready < r.wanted).map((r) => `${g.name}/${r.name} has ${r.ready} of ${r.wanted} ready`)).join(', ');

/** Site and flavor of a group stay as they were chosen. */
function before(status: AllocationStatus | undefined, g: AllocationGroupStatus): AllocationGroupStatus {
  const was = status?.groups?.find((x) => x.name === g.name);
  return { ...g, ...(was?.site === undefined ? {} : { site: was.site }), resources: g.resources.map((r) => ({ ...r, flavor: was?.resources.find((x) => x.name === r.name)?.flavor ?? 0 })) };
}

/** Why it will not become whole; null = it may. */
function failure(o: Observed): string | null {
  const { spec, status, metadata } = o.allocation;
  const since = o.now - Date.parse(status?.startedAt ?? new Date(o.now).toISOString());
  for (const m of membersOf(o.allocation)) {
    const app = o.applications.get(m.application);
    if (app !== undefined && !isOwned(app, metadata.uid)) return `group ${m.group}: ${m.id}: there is an application "${m.application}" that is not of this allocation`;
    const undone = o.placements.get(m.application)?.status?.moves?.findLast((x) => x.phase === 'undone');
    if (undone !== undefined) return `group ${m.group}: ${m.id}: ${undone.reason}`;
    const isRefused = app?.status?.phase === 'Unmet' || (app?.status?.phase === 'Pending' && (app.status.message ?? '') !== '');
    if (isRefused && since > SETTLE_MS) return `group ${m.group}: ${m.id}: ${app?.status?.message ?? ''}`;
  }
  const within = spec.placeWithinSeconds ?? DEFAULT_WITHIN_SECONDS;
  if (since <= within * 1000) return null;
  return `not ready in ${within} s: ${notReady(groupsOf(o, 'Placing', () => []))}`;
}

const ownedBy = (o: Observed): readonly Application[] => membersOf(o.allocation).flatMap((m) => {
  const app = o.applications.get(m.application);
  return app !== undefined && isOwned(app, o.allocation.metadata.uid) ? [app] : [];
});

/** Is nothing of an earlier attempt left? */
const isBare = (o: Observed): boolean => ownedBy(o).length === 0 && !membersOf(o.allocation).some((m) => o.placements.has(m.application) && !o.applications.has(m.application));

/** Nothing of it stays; Failed is said when nothing is left, not before. */
function takeBack(o: Observed, message: string): Decision {
  const members = membersOf(o.allocation);
  const remove = ownedBy(o);
  const stands = members.some((m) => o.placements.has(m.application) && (!o.applications.has(m.application) || remove.some((a) => a.metadata.name === m.application)));
  const phase: AllocationPhase = remove.length > 0 || stands ? 'RollingBack' : 'Failed';
  const groups = groupsOf(o, phase, () => []).map((g) => {
    const said = o.allocation.status?.groups?.find((x) => x.name === g.name)?.message;
    return { ...g, ...(said === undefined ? {} : { message: said }) };
  });
  const { startedAt, attempts } = o.allocation.status ?? {};
  const retryAt = phase === 'Failed' ? retryOf(o) : undefined;
  return { status: { ...(startedAt === undefined ? {} : { startedAt }), ...(attempts === undefined ? {} : { attempts }), ...(retryAt === undefined ? {} : { retryAt }), phase, message, groups }, make: [], remove };
}

/** Counted from when nothing was left of the last attempt. */
function retryOf({ allocation: { spec, status }, now }: Observed): string | undefined {
  if (spec.retry === 'never') return undefined;
  if (status?.phase === 'Failed' && status.retryAt !== undefined) return status.retryAt;
  return new Date(now + Math.min(LONGEST_RETRY_MS, RETRY_MS * 2 ** (Math.max(1, status?.attempts ?? 1) - 1))).toISOString();
}

function sitesOf(o: Observed, m: Member): readonly string[] {
  const planned = o.placements.get(m.application)?.spec.sites.filter((s) => s.instances > 0).map((s) => s.site);
  if (planned !== undefined && planned.length > 0) return planned;
  const chosen = o.allocation.status?.groups?.find((g) => g.name === m.group);
  return isCentral(o.allocation) && chosen?.site !== undefined ? [chosen.site] : (chosen?.resources.find((r) => r.name === m.resource.name)?.sites ?? []);
}

function groupsOf(o: Observed, phase: AllocationPhase, sites: (m: Member) => readonly string[]): AllocationGroupStatus[] {
  const wanted = replicasOf(o.allocation);
  const members = membersOf(o.allocation);
  return o.allocation.spec.resourceGroups.map((g) => ({
    name: g.name,
    phase,
    resources: members.filter((m) => m.group === g.name).map((m) => ({ name: m.resource.name, application: m.application, wanted, ready: readyOf(o.placements.get(m.application), wanted), sites: [...sites(m)] })),
  }));
}

/** Instances that serve; those that drain do not count. */
function readyOf(placement: Placement | undefined, wanted: number): number {
  const planned = new Set(placement?.spec.sites.filter((s) => s.instances > 0).map((s) => s.site));
  const ready = (placement?.status?.sites ?? []).filter((s) => planned.has(s.site) && s.state !== 'unreachable').reduce((n, s) => n + s.ready, 0);
  return Math.min(wanted, ready);
}
