/**
 * The instances of one site: who gets which part of the site's traffic, and who leaves when fewer are wanted. New ones among serving ones
 * ramp up 5 -> 50 -> 100; who is to leave is drained at the fronts first, and marked, so that the replica set takes exactly that one. Pure.
 */
export type Factor = 0 | 5 | 50 | 100;

/** Of one instance; kept with the Placement under the pod's name. */
export interface InstanceTraffic {
  /** Its weight among the instances of its site. */
  readonly factor: Factor;
  /** When the factor changed last. */
  readonly since: number;
  readonly isLeaving?: true;
  /** Of one that leaves: since when no front gives it anything; absent = one does. */
  readonly idleSince?: number;
  /** Was not Ready since then; one failed probe does not begin a ramp anew. */
  readonly unreadySince?: number;
}

/** What the agents tell of a VM's transfer, on the new pod (`mesh.proxima.io/migration`). */
export interface Migration {
  readonly phase: 'sending' | 'sent' | 'restored' | 'failed';
  readonly bytes?: number;
  readonly downtimeMs?: number;
  readonly reason?: string;
}

export interface ObservedInstance {
  /** The pod's name and uid. */
  readonly name: string;
  readonly uid: string;
  /** Ready, with an address, and not asked to end. */
  readonly isReady: boolean;
  /** It was asked to end. */
  readonly isLeaving: boolean;
  readonly createdAt: number;
  /** The largest weight that a front in reach gives it now. */
  readonly weight: number;
  /** It carries the mark by which a replica set takes it first. */
  readonly isMarked: boolean;
  /** Its VM is to be sent there. */
  readonly sendTo: string | null;
  readonly migration: Migration | null;
}

export interface InstancesInput {
  readonly observed: readonly ObservedInstance[];
  readonly before: Readonly<Record<string, InstanceTraffic>>;
  /** How many must leave. */
  readonly surplus: number;
  readonly now: number;
  readonly stepMs: number;
  readonly drainMs: number;
  readonly unreadyMs: number;
}

export interface InstancesDecision {
  readonly traffic: Readonly<Record<string, InstanceTraffic>>;
  /** Began to leave in this pass. */
  readonly began: readonly string[];
  readonly mark: readonly string[];
  readonly unmark: readonly string[];
  /** Everybody who must leave is marked and drained: the number may be lowered now. */
  readonly isDrained: boolean;
  readonly nextAt: number | null;
}

const NEXT: Readonly<Record<Factor, Factor>> = { 0: 5, 5: 50, 50: 100, 100: 100 };

export const next = (factor: Factor): Factor => NEXT[factor];

/** Who leaves first: who serves nobody, who was chosen before, who has least, the youngest. */
function leavers(input: InstancesInput): readonly ObservedInstance[] {
  const rank = (i: ObservedInstance): readonly number[] => {
    const t = input.before[i.name];
    return [i.isReady ? 1 : 0, t?.isLeaving === true ? 0 : 1, t?.factor ?? 0, -i.createdAt];
  };
  const compare = (a: ObservedInstance, b: ObservedInstance): number => {
    const [x, y] = [rank(a), rank(b)];
    for (let k = 0; k < x.length; k++) if (x[k] !== y[k]) return (x[k] as number) - (y[k] as number);
    return a.name < b.name ? -1 : 1;
  };
  return input.observed.filter((i) => !i.isLeaving).toSorted(compare).slice(0, input.surplus);
}

export function decideInstances(input: InstancesInput): InstancesDecision {
  const { now, before, drainMs } = input;
  const chosen = new Set(leavers(input).map((i) => i.name));
  const active = input.observed.filter((i) => !i.isLeaving);
  const traffic: Record<string, InstanceTraffic> = {};
  const isServing = active.some((i) => i.isReady && !chosen.has(i.name) && (before[i.name]?.factor ?? 0) > 0);
  const times: number[] = [];
  const began: string[] = [];
  let isDrained = chosen.size > 0;
  for (const i of active) {
    const b = before[i.name];
    if (!chosen.has(i.name)) {
      const t = grow(i, b, isServing, input);
      if (t !== null) traffic[i.name] = t;
      if (t !== null && t.factor < 100 && i.isReady) times.push(t.since + input.stepMs);
      continue;
    }
    // what a front still gives it has not been drained: the time runs from when nobody does
    const isNew = b?.isLeaving !== true;
    const idleSince = isNew || i.weight > 0 ? undefined : (b.idleSince ?? now);
    traffic[i.name] = { factor: 0, since: isNew ? now : b.since, isLeaving: true, ...(idleSince === undefined ? {} : { idleSince }) };
    if (isNew) began.push(i.name);
    const isDone = i.isMarked && (!i.isReady || (idleSince !== undefined && now - idleSince >= drainMs));
    if (!isDone) isDrained = false;
    if (!isDone && i.isReady && idleSince !== undefined) times.push(idleSince + drainMs);
  }
  const mark = active.filter((i) => chosen.has(i.name) && !i.isMarked).map((i) => i.name);
  const unmark = active.filter((i) => !chosen.has(i.name) && i.isMarked).map((i) => i.name);
  const soonest = Math.min(...times.map((t) => Math.max(t, now + 1)));
  return { traffic, began, mark, unmark, isDrained, nextAt: Number.isFinite(soonest) ? soonest : null };
}

/** null = it never was Ready: nothing to remember yet. */
function grow(i: ObservedInstance, b: InstanceTraffic | undefined, isServing: boolean, { now, stepMs, unreadyMs }: InstancesInput): InstanceTraffic | null {
  if (!i.isReady) return b === undefined ? null : { factor: b.isLeaving === true ? 0 : b.factor, since: b.since, unreadySince: b.unreadySince ?? now };
  // alone it has what the site has, and that is ramped by itself
  if (!isServing || b?.isLeaving === true) return b?.factor === 100 && b.unreadySince === undefined ? b : { factor: 100, since: now };
  if (b === undefined || (b.unreadySince !== undefined && now - b.unreadySince >= unreadyMs)) return { factor: 5, since: now };
  if (b.factor < 100 && now - b.since >= stepMs) return { factor: NEXT[b.factor], since: now };
  return b.unreadySince === undefined ? b : { factor: b.factor, since: b.since };
}
