/**
 * Goal state of one droplet: a pure function of the View. Which VPCs a droplet hears of follows from what it does: it hosts endpoints of
 * them, is a bouncer or divider for them, or is its site's relay or front. Substrate addresses mean something only inside their site, so
 * everything that names another site's droplet goes through the relays.
 *
 * Who hosts a VPC is told its endpoints at the site, and so sends to them directly, up to a bound; bouncers know the rest. It is told the VPC's
 * networks, up to a bound; dividers know the rest. A direct way is part of the goal state and never learned from packets: it can neither be
 * forged nor outlive its endpoint. The bounds keep what one pod's start costs apart from the size of its VPC.
 */
import type { GoalEntry, GoalState } from '../../api/goal.ts';
import { goalKey } from '../../api/goal.ts';
import type { Bouncer, Divider, Droplet, Endpoint, Subnet } from '../../api/kinds/mizar.ts';
import { applicationKey } from './names.ts';
import type { SimpleEndpoint, View } from './world.ts';
import { isForeign, keyOf, subnetKeyOf, tenantOf, vniOf, vpcKeyOf } from './world.ts';

/** Endpoints of one VPC that a droplet reaches without a bouncer. */
export const DIRECT_ENDPOINTS = 256;
/** Networks of one VPC that a droplet reaches without a divider, besides those that it hosts. */
export const DIRECT_NETWORKS = 64;

/** Deterministic, without duplicates, ordered by key. */
export function goalFor(droplet: Droplet, view: View): readonly GoalEntry[] {
  if (isForeign(droplet)) return [];
  const out = new Map<string, GoalEntry>();
  const put = (e: GoalEntry): void => void out.set(goalKey(e), e);
  const isRelay = isRelayOf(droplet, view);
  for (const key of vpcsOn(droplet, isRelay, view)) for (const e of vpcEntries(key, droplet, isRelay, view)) put(e);
  for (const e of endpointsOn(droplet, isRelay, view)) for (const entry of endpointEntry(e, droplet.spec.site, view)) put(entry);
  for (const e of peersOf(droplet, isRelay, view)) put(e);
  for (const e of frontEntries(droplet, view)) put(e);
  return [...out.keys()].sort().flatMap((k) => out.get(k) ?? []);
}

function isRelayOf(droplet: Droplet, view: View): boolean {
  return view.relays.get(droplet.spec.site)?.metadata.name === droplet.metadata.name;
}

function vpcsOn(droplet: Droplet, isRelay: boolean, view: View): ReadonlySet<string> {
  const name = droplet.metadata.name;
  const keys = new Set<string>();
  for (const e of view.simpleByDroplet.get(name) ?? []) keys.add(vpcKeyOf(e));
  for (const b of view.bouncersByDroplet.get(name) ?? []) keys.add(vpcKeyOf(b));
  for (const d of view.dividersByDroplet.get(name) ?? []) keys.add(vpcKeyOf(d));
  if (isRelay || droplet.spec.front !== undefined) {
    for (const s of view.subnetsBySite.get(droplet.spec.site) ?? []) keys.add(vpcKeyOf(s));
    for (const e of view.frontsBySite.get(droplet.spec.site) ?? []) keys.add(vpcKeyOf(e));
  }
  return keys;
}

function vpcEntries(vpcKey: string, droplet: Droplet, isRelay: boolean, view: View): readonly GoalEntry[] {
  const vpc = view.vpcs.get(vpcKey);
  const vni = vniOf(vpc);
  if (vpc === undefined || vni === null) return [];
  const site = droplet.spec.site;
  const dividers = usableBy(droplet, view.dividersByVpc.get(vpcKey) ?? [], view);
  const out: GoalEntry[] = [{ kind: 'vpc', vni, cidr: vpc.spec.cidr, dividers }];
  for (const subnet of subnetsKnownTo(droplet, vpcKey, view)) {
    if (subnet.spec.site === site) {
      out.push({ kind: 'network', vni, cidr: subnet.spec.cidr, bouncers: usableBy(droplet, view.bouncersBySubnet.get(keyOf(subnet)) ?? [], view) });
      continue;
    }
    const relay = isRelay ? view.relays.get(subnet.spec.site)?.spec.relay?.address : view.relays.get(site)?.spec.address;
    if (relay !== undefined) out.push({ kind: 'route', vni, cidr: subnet.spec.cidr, relay });
  }
  for (const e of view.scaledByVpc.get(vpcKey) ?? []) {
    for (const p of e.spec.ports) out.push({ kind: 'scaled', vni, address: e.spec.address, port: p.port, protocol: p.protocol, backends: e.spec.backends.map(backend) });
  }
  return out;
}

/** In order of name. Relays, fronts and dividers know all networks; who has no divider at its site has to. */
function subnetsKnownTo(droplet: Droplet, vpcKey: string, view: View): readonly Subnet[] {
  const all = view.subnetsByVpc.get(vpcKey) ?? [];
  const name = droplet.metadata.name;
  const dividers = view.dividersByVpc.get(vpcKey) ?? [];
  const knowsAll = isRelayOf(droplet, view) || droplet.spec.front !== undefined || dividers.some((d) => d.spec.droplet === name) || usableBy(droplet, dividers.filter(isProvisioned), view).length === 0;
  if (knowsAll || all.length <= DIRECT_NETWORKS) return all;
  const here = new Set([...(view.simpleByDroplet.get(name) ?? []), ...(view.bouncersByDroplet.get(name) ?? [])].map(subnetKeyOf));
  return all.filter((s, i) => i < DIRECT_NETWORKS || here.has(keyOf(s)));
}

const isProvisioned = (role: Bouncer | Divider): boolean => role.status?.phase === 'Provisioned';

/** A new bouncer or divider is used by others only once it knows what it should (Provisioned); itself it is told at once, which is how it gets there. */
function usableBy(droplet: Droplet, roles: readonly (Bouncer | Divider)[], view: View): readonly string[] {
  const usable = roles.some(isProvisioned) ? roles.filter((r) => isProvisioned(r) || r.spec.droplet === droplet.metadata.name) : roles;
  return addressesAt(droplet.spec.site, usable.map((r) => r.spec.droplet), view);
}

function addressesAt(site: string, droplets: readonly string[], view: View): readonly string[] {
  return droplets.flatMap((name) => {
    const d = view.droplets.get(name);
    return d !== undefined && d.spec.site === site && !isForeign(d) ? [d.spec.address] : [];
  }).sort();
}

function* endpointsOn(droplet: Droplet, isRelay: boolean, view: View): Generator<SimpleEndpoint> {
  const own = view.simpleByDroplet.get(droplet.metadata.name) ?? [];
  yield* own;
  for (const b of view.bouncersByDroplet.get(droplet.metadata.name) ?? []) yield* view.simpleBySubnet.get(subnetKeyOf(b)) ?? [];
  if (isRelay || droplet.spec.front !== undefined) {
    for (const s of view.subnetsBySite.get(droplet.spec.site) ?? []) yield* view.simpleBySubnet.get(keyOf(s)) ?? [];
    return;
  }
  for (const vpcKey of new Set(own.map(vpcKeyOf))) yield* directIn(vpcKey, droplet, view);
}

/** The first of a VPC's endpoints at the droplet's site, in order of network and name, so that one more moves one at most. */
function* directIn(vpcKey: string, droplet: Droplet, view: View): Generator<SimpleEndpoint> {
  let room = DIRECT_ENDPOINTS;
  for (const s of subnetsKnownTo(droplet, vpcKey, view)) {
    if (s.spec.site !== droplet.spec.site) continue;
    const some = (view.simpleBySubnet.get(keyOf(s)) ?? []).slice(0, room);
    yield* some;
    room -= some.length;
    if (room === 0) return;
  }
}

function endpointEntry(e: SimpleEndpoint, site: string, view: View): readonly GoalEntry[] {
  const vni = vniOf(view.vpcs.get(vpcKeyOf(e)));
  const host = view.droplets.get(e.spec.droplet);
  if (vni === null || host === undefined || host.spec.site !== site || isForeign(host)) return [];
  return [{ kind: 'endpoint', vni, address: e.spec.address, mac: e.spec.mac, droplet: host.spec.address }];
}

function peersOf(droplet: Droplet, isRelay: boolean, view: View): readonly GoalEntry[] {
  const out: GoalEntry[] = [];
  for (const d of view.dropletsBySite.get(droplet.spec.site) ?? []) {
    if (d.metadata.name !== droplet.metadata.name) out.push({ kind: 'droplet', address: d.spec.address, mac: d.spec.mac });
  }
  if (!isRelay) return out;
  for (const [site, d] of view.relays) {
    if (site !== droplet.spec.site && d.spec.relay !== undefined) out.push({ kind: 'droplet', address: d.spec.relay.address, mac: null });
  }
  return out;
}

function frontEntries(droplet: Droplet, view: View): readonly GoalEntry[] {
  if (droplet.spec.front === undefined) return [];
  const out: GoalEntry[] = [];
  for (const e of view.frontsBySite.get(droplet.spec.site) ?? []) {
    const vni = vniOf(view.vpcs.get(vpcKeyOf(e)));
    const application = view.world.applications.get(applicationKey(tenantOf(e), e.spec.application));
    if (vni === null || application === undefined) continue;
    out.push({ kind: 'front', address: e.spec.address, port: e.spec.port, protocol: e.spec.protocol, vni, application, backends: e.spec.backends.map(backend) });
  }
  for (const region of view.world.clientRegions) for (const cidr of region.cidrs) out.push({ kind: 'client-region', cidr, id: region.id });
  return out;
}

function backend(b: { readonly address: string; readonly port: number; readonly weight: number }): { address: string; port: number; weight: number } {
  return { address: b.address, port: b.port, weight: b.weight };
}

/** Entries by key; two goals are the same when their maps are. */
export type GoalMap = ReadonlyMap<string, GoalEntry>;

export function goalMap(entries: readonly GoalEntry[]): GoalMap {
  return new Map(entries.map((e) => [goalKey(e), e]));
}

/** What turns `old` into `next`; null when they are the same. */
export function goalDelta(old: GoalMap, next: GoalMap): Pick<GoalState, 'put' | 'drop'> | null {
  const put = [...next].filter(([key, e]) => !sameEntry(old.get(key), e)).map(([, e]) => e);
  const drop = [...old.keys()].filter((key) => !next.has(key));
  return put.length === 0 && drop.length === 0 ? null : { put, drop };
}

export function applyGoal(old: GoalMap, goal: GoalState): GoalMap {
  const out = new Map(goal.base === 0 ? [] : old);
  for (const key of goal.drop) out.delete(key);
  for (const e of goal.put) out.set(goalKey(e), e);
  return out;
}

// Entries are built field by field in one order above, so their JSON is canonical.
function sameEntry(a: GoalEntry | undefined, b: GoalEntry): boolean {
  return a !== undefined && (a === b || JSON.stringify(a) === JSON.stringify(b));
}

/** Whether a droplet that has brought `goal` into the kernel serves this endpoint for its pod. */
export function hasEndpoint(goal: GoalMap, vni: number, endpoint: Endpoint): boolean {
  if (endpoint.spec.type !== 'simple') return false;
  const entry = goal.get(`endpoint/${vni}/${endpoint.spec.address}`);
  return entry?.kind === 'endpoint' && entry.mac === endpoint.spec.mac;
}
