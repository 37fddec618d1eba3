/**
 * Does an Allocation fit, all of it? Asked of the planner itself, over the room that everything else leaves. A centralized group tries the sites
 * that its selector allows, cheapest first; a resource with several flavors falls back to its next one when it has no place. Pure.
 */
import type { Allocation } from '../../api/kinds/mesh.ts';
import { applicationOf, fitsSelector, isCentral, membersOf, replicasOf, type Choice, type Member } from './allocation.ts';
import type { Snapshot } from './global-scheduler.ts';
import type { ApplicationModel, Model, SiteModel } from './model.ts';
import { roomFor } from './others.ts';
import { plan, type ApplicationPlan } from './planner.ts';
import { portRefusals } from './ports.ts';
import { refusals } from './refusals.ts';
import { keyOf } from './region-objects.ts';
import { applicationModel } from './world.ts';

export interface Fit {
  readonly choice: Choice;
  /** By `<group>/<resource>`. */
  readonly sites: ReadonlyMap<string, readonly string[]>;
}

export interface Misfit {
  readonly group: string;
  readonly message: string;
}

const NO_MEMORY = { traffic: {}, avoid: [], movedAt: [] } as const;

export function fitOf(allocation: Allocation, snapshot: Snapshot): Fit | Misfit {
  const refused = refusedBy(allocation, snapshot);
  if (refused !== null) return refused;
  const others = snapshot.model.applications.filter((a) => !isMember(allocation, a.key)).map((app) => ({ app, sites: snapshot.plan.applications.get(app.key)?.sites ?? [], plannedAt: '' }));
  const model = { ...snapshot.model, sites: roomFor(snapshot.model.sites, [], others).sites };
  let flavors: ReadonlyMap<string, number> = new Map();
  for (;;) {
    const tried = isCentral(allocation) ? central(allocation, flavors, model, snapshot.at) : spread(allocation, { flavors, sites: new Map() }, model, snapshot.at);
    if (!('member' in tried)) return tried;
    const { member, message } = tried;
    const next = (flavors.get(member.id) ?? 0) + 1;
    if (next >= (member.resource.flavors?.length ?? 1)) return { group: member.group, message: `${member.id}: ${message}` };
    flavors = new Map([...flavors, [member.id, next]]);
  }
}

const isMember = (allocation: Allocation, key: string): boolean => membersOf(allocation).some((m) => key === `${allocation.metadata.tenant ?? 'system'}/${allocation.metadata.namespace ?? 'default'}/${m.application}`);

/** What no plan can help with: the VPC, a port that somebody else has, a name that is taken. */
function refusedBy(allocation: Allocation, { objects, at }: Snapshot): Misfit | null {
  const { tenant = 'system' } = allocation.metadata;
  const members = membersOf(allocation);
  const first = members[0]?.group ?? '';
  if (!objects.vpcs.has(`${tenant}/${allocation.spec.vpc}`)) return { group: first, message: `spec.vpc: no VPC "${allocation.spec.vpc}" in tenant ${tenant}` };
  const apps = new Map(members.map((m) => [m, applicationOf(allocation, m, { flavors: new Map(), sites: new Map() }, [])]));
  const all = new Map(objects.applications);
  for (const [m, app] of apps) {
    const there = objects.applications.get(keyOf(app));
    if (there !== undefined && there.metadata.ownerReferences?.some((o) => o.uid === allocation.metadata.uid) !== true) return { group: m.group, message: `${m.id}: there is an application "${m.application}" that is not of this allocation` };
    if (there === undefined) all.set(keyOf(app), { ...app, metadata: { ...app.metadata, creationTimestamp: new Date(at).toISOString() } });
  }
  const ports = portRefusals(all.values());
  for (const [m, app] of apps) {
    const refusal = ports.get(keyOf(app));
    if (refusal !== undefined) return { group: m.group, message: `${m.id}: ${refusal.message}` };
  }
  return null;
}

interface Lacks {
  readonly member: Member;
  readonly message: string;
}

interface Tried {
  readonly of: ReadonlyMap<Member, ApplicationPlan | undefined>;
  /** What speaks against a site for a member; null = nothing that is known. */
  readonly against: (member: Member, site: string) => string | null;
}

function tryOut(allocation: Allocation, members: readonly Member[], choice: Choice, sites: Model, now: number): Tried {
  const models = new Map(members.map((m) => [m, modelOf(allocation, m, choice, sites)]));
  const model = { ...sites, applications: [...models.values()].sort((a, b) => (a.key < b.key ? -1 : 1)) };
  const made = plan(model, new Map(), now);
  const planOf = (m: Member): ApplicationPlan | undefined => made.applications.get(models.get(m)?.key ?? '');
  return {
    of: new Map(members.map((m) => [m, planOf(m)])),
    against(member, site) {
      const [app, its] = [models.get(member), planOf(member)];
      return app === undefined || its === undefined ? null : (refusals(model, app, made).find((r) => r.site === site)?.reason ?? null);
    },
  };
}

/** null = all of its instances have a place, as far apart as asked. */
function lackOf(allocation: Allocation, p: ApplicationPlan | undefined): string | null {
  const n = replicasOf(allocation);
  const total = p?.sites.reduce((sum, s) => sum + s.instances, 0) ?? 0;
  if (p === undefined || total < n) return p?.unmet[0] ?? `${total} of ${n} instances have a place`;
  if (!isCentral(allocation) && p.sites.length < n) return `${p.sites.length} of ${n} different sites have room`;
  return null;
}

function spread(allocation: Allocation, choice: Choice, model: Model, now: number): Fit | Lacks {
  const sites = new Map<string, readonly string[]>();
  for (const [member, p] of tryOut(allocation, membersOf(allocation), choice, model, now).of) {
    const message = lackOf(allocation, p);
    if (message !== null) return { member, message };
    sites.set(member.id, p?.sites.map((s) => s.site) ?? []);
  }
  return { choice, sites };
}

/** Group by group: what a group took is not there for the next one. */
function central(allocation: Allocation, flavors: Choice['flavors'], whole: Model, now: number): Fit | Lacks {
  const chosen = new Map<string, string>();
  let model = whole;
  for (const { name } of allocation.spec.resourceGroups) {
    const members = membersOf(allocation).filter((m) => m.group === name);
    const found = siteFor(allocation, members, { flavors, sites: chosen }, model, now);
    if (typeof found !== 'string') return found;
    chosen.set(name, found);
    model = { ...model, sites: roomFor(model.sites, [], members.map((m) => ({ app: modelOf(allocation, m, { flavors, sites: chosen }, model), sites: [{ site: found, instances: replicasOf(allocation) }], plannedAt: '' }))).sites };
  }
  return { choice: { flavors, sites: chosen }, sites: new Map(membersOf(allocation).map((m) => [m.id, [chosen.get(m.group) ?? '']])) };
}

const modelOf = (allocation: Allocation, m: Member, choice: Choice, model: Model): ApplicationModel => {
  const app = applicationOf(allocation, m, choice, model.sites);
  return { ...applicationModel(app, app.spec.policy ?? { instances: { min: 1, max: 1 } }, NO_MEMORY), demand: [] };
};

function siteFor(allocation: Allocation, members: readonly Member[], choice: Choice, model: Model, now: number): string | Lacks {
  const allowed = model.sites.filter((s) => fitsSelector(allocation.spec.selector, s));
  const [first] = members as [Member, ...Member[]];
  let last: Lacks = { member: first, message: 'no site is allowed by spec.selector' };
  let most = -1;
  for (const site of allowed.toSorted(byCost)) {
    const { of, against } = tryOut(allocation, members, { ...choice, sites: new Map([...choice.sites, [first.group, site.name]]) }, model, now);
    const lacking = [...of].find(([, p]) => lackOf(allocation, p) !== null);
    if (lacking === undefined) return site.name;
    const placed = [...of.values()].reduce((n, p) => n + (p?.sites.reduce((sum, s) => sum + s.instances, 0) ?? 0), 0);
    if (placed <= most) continue;
    most = placed;
    last = { member: lacking[0], message: `no single site has room for the whole group; ${site.name}, which takes most of it, ${against(lacking[0], site.name) ?? `has no place: ${lackOf(allocation, lacking[1]) ?? ''}`}` };
  }
  return last;
}

const byCost = (a: SiteModel, b: SiteModel): number => a.cost - b.cost || (a.name < b.name ? -1 : 1);
