/**
 * What would be: the plan after objects were applied, sites were lost, traffic changed. Pure over one snapshot; writes nothing, asks nobody.
 * Before is the plan in force with the demand of now; after is a plan made from it by the planner that makes the real ones.
 */
import type { Application, PolicySpec } from '../../api/kinds/mesh.ts';
import type { DryRun, PlanDiffRow } from '../../api/scheduling.ts';
import type { Snapshot } from './global-scheduler.ts';
import { memoryOf } from './memory.ts';
import type { ApplicationModel, Model, Placements, SiteInstances } from './model.ts';
import { plan, type ApplicationPlan, type Plan } from './planner.ts';
import { portRefusals } from './ports.ts';
import { applicationModel, placementsOf, policyOf, type GlobalObjects } from './world.ts';

/** Objects as if they were applied; keys are `<tenant>/<namespace>/<name>`. */
export interface Proposal {
  readonly applications: ReadonlyMap<string, Application>;
  readonly policies: ReadonlyMap<string, PolicySpec>;
  /** `<tenant>/<vpc>` */
  readonly vpcs: ReadonlySet<string>;
}

/** Requests per second of clients of a region, or so many times those of now. The first rule that fits counts. */
export interface TrafficRule {
  /** null = every application. */
  readonly application: string | null;
  /** null = every client region. */
  readonly clientRegion: string | null;
  readonly demand: { readonly rps: number } | { readonly factor: number };
}

export interface Situation {
  readonly proposal?: Proposal;
  readonly sitesDown?: readonly string[];
  readonly traffic?: readonly TrafficRule[];
}

const NO_PROPOSAL: Proposal = { applications: new Map(), policies: new Map(), vpcs: new Set() };
/** Long enough for the last step of any policy. */
const LONG_AGO_MS = 8 * 86_400_000;

/** What the pass has just decided is what is there now; what it did not plan stays as recorded. */
function placementsNow(snapshot: Snapshot): Placements {
  const placements = new Map<string, readonly SiteInstances[]>(placementsOf(snapshot.objects));
  for (const [key, planned] of snapshot.plan.applications) placements.set(key, planned.sites);
  return placements;
}

interface Applied {
  readonly applications: readonly ApplicationModel[];
  readonly refused: DryRun['refused'];
}

/** Applications of the model with the proposal's in their places; demand stays with the key. */
function apply(snapshot: Snapshot, proposal: Proposal): Applied {
  if (proposal.applications.size === 0 && proposal.policies.size === 0) return { applications: snapshot.model.applications, refused: [] };
  const applications = new Map(snapshot.objects.applications);
  for (const [key, app] of proposal.applications) applications.set(key, { ...app, metadata: { ...app.metadata, creationTimestamp: applications.get(key)?.metadata.creationTimestamp ?? new Date(snapshot.at).toISOString() } });
  const objects: GlobalObjects = { ...snapshot.objects, applications, policies: new Map([...snapshot.objects.policies, ...proposal.policies]) };
  const ports = portRefusals(objects.applications.values());
  const models = new Map(snapshot.model.applications.map((a) => [a.key, a]));
  const refused: { application: string; reason: string }[] = [];
  for (const [key, app] of objects.applications) {
    if (!proposal.applications.has(key) && !usesOneOf(app, key, proposal.policies)) continue;
    const policy = policyOf(app, objects);
    const vpc = `${key.slice(0, key.indexOf('/'))}/${app.spec.vpc}`;
    const reason =
      policy === null ? `spec.policyRef: no PlacementPolicy "${app.spec.policyRef ?? ''}"`
      : !objects.vpcs.has(vpc) && !proposal.vpcs.has(vpc) ? `spec.vpc: no VPC "${app.spec.vpc}"`
      : ports.get(key)?.message;
    if (reason !== undefined) refused.push({ application: key, reason });
    if (policy === null || (reason !== undefined && !models.has(key))) continue;
    const before = models.get(key);
    models.set(key, { ...before, ...applicationModel(app, policy, memoryOf(objects.placements.get(key))), key, demand: before?.demand ?? [] });
  }
  return { applications: [...models.values()].sort((a, b) => (a.key < b.key ? -1 : 1)), refused };
}

function usesOneOf(app: Application, key: string, policies: Proposal['policies']): boolean {
  return app.spec.policyRef !== undefined && policies.has(`${key.slice(0, key.lastIndexOf('/') + 1)}${app.spec.policyRef}`);
}

function withTraffic(app: ApplicationModel, rules: readonly TrafficRule[], clientRegions: readonly string[]): ApplicationModel {
  const now = new Map(app.demand.map((d) => [d.region, d.rps]));
  const demand = clientRegions.flatMap((name, region) => {
    const rule = rules.find((r) => (r.application ?? app.key) === app.key && (r.clientRegion ?? name) === name);
    const rps = rule === undefined ? (now.get(region) ?? 0) : 'rps' in rule.demand ? rule.demand.rps : rule.demand.factor * (now.get(region) ?? 0);
    return rps > 0 ? [{ region, rps }] : [];
  });
  return { ...app, demand };
}

function modelOf(snapshot: Snapshot, situation: Situation, applications: readonly ApplicationModel[]): Model {
  const { model, at } = snapshot;
  const { sitesDown = [], traffic = [] } = situation;
  return {
    ...model,
    sites: model.sites.map((s) => (sitesDown.includes(s.name) ? { ...s, reach: 'down' as const, since: at - LONG_AGO_MS } : s)),
    applications: traffic.length === 0 ? applications : applications.map((a) => withTraffic(a, traffic, model.clientRegions)),
  };
}

/** `isVisible`: of which applications the caller may know. The plan is always made for all of them: they share the sites. */
export function dryRun(snapshot: Snapshot, situation: Situation = {}, isVisible: (key: string) => boolean = () => true): DryRun {
  const { applications, refused } = apply(snapshot, situation.proposal ?? NO_PROPOSAL);
  const made = plan(modelOf(snapshot, situation, applications), placementsNow(snapshot), snapshot.at);
  return { ...compare(snapshot.plan, made, isVisible), refused: refused.filter((r) => isVisible(r.application)) };
}

/** Only what differs from the placements of now. Empty = nothing would move. */
export function planDiff(made: Plan, isVisible: (key: string) => boolean = () => true): PlanDiffRow[] {
  return made.changed
    .filter(isVisible)
    .toSorted()
    .flatMap((key) => {
      const a = made.applications.get(key) as ApplicationPlan;
      return a.changes.map((c) => ({ application: key, ...c, latencyMs: round(a.latencyMs), cost: round(a.cost) }));
    });
}

const round = (value: number): number => Math.round(value * 100) / 100;

function compare(before: Plan, after: Plan, isVisible: (key: string) => boolean): Omit<DryRun, 'refused'> {
  const changes = planDiff(after, isVisible);
  const [was, is] = [before, after].map((p) => [...p.applications.values()].filter((a) => isVisible(a.key))) as [ApplicationPlan[], ApplicationPlan[]];
  const sum = (of: (c: PlanDiffRow) => number): number => changes.reduce((n, c) => n + Math.max(0, of(c)), 0);
  const cost = (plans: readonly ApplicationPlan[]): number => round(plans.reduce((n, a) => n + a.cost, 0));
  return {
    at: after.at,
    changes,
    summary: {
      applicationsChanged: new Set(changes.map((c) => c.application)).size,
      instancesStarted: sum((c) => c.to - c.from),
      instancesStopped: sum((c) => c.from - c.to),
      costPerHour: { before: cost(was), after: cost(is) },
      latencyMs: latencies(was, is),
      goalsMet: { before: goalsMet(was), after: goalsMet(is) },
    },
    unmet: is.flatMap((a) => (a.unmet.length === 0 ? [] : [{ application: a.key, reasons: a.unmet }])).sort((a, b) => (a.application < b.application ? -1 : 1)),
  };
}

function goalsMet(plans: readonly ApplicationPlan[]): string {
  const goals = plans.flatMap((a) => a.goals);
  return `${goals.filter((g) => g.met).length}/${goals.length}`;
}

interface Mean {
  rps: number;
  weighted: number;
  count: number;
  plain: number;
}

/** By requests where there are some; a region that only may send requests counts every way to it alike. */
function meansOf(plans: readonly ApplicationPlan[]): ReadonlyMap<string, Mean> {
  const out = new Map<string, Mean>();
  for (const s of plans.flatMap((a) => a.serves)) {
    const mean = out.get(s.clientRegion) ?? { rps: 0, weighted: 0, count: 0, plain: 0 };
    out.set(s.clientRegion, { rps: mean.rps + s.rps, weighted: mean.weighted + s.rps * s.rttMs, count: mean.count + 1, plain: mean.plain + s.rttMs });
  }
  return out;
}

const meanMs = (m: Mean | undefined): number | null => (m === undefined ? null : round(m.rps > 0 ? m.weighted / m.rps : m.plain / m.count));

function latencies(was: readonly ApplicationPlan[], is: readonly ApplicationPlan[]): DryRun['summary']['latencyMs'] {
  const [before, after] = [meansOf(was), meansOf(is)];
  return [...new Set([...before.keys(), ...after.keys()])].sort().map((clientRegion) => ({ clientRegion, rps: round(after.get(clientRegion)?.rps ?? 0), before: meanMs(before.get(clientRegion)), after: meanMs(after.get(clientRegion)) }));
}
