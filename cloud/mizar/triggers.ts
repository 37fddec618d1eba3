/** What has to be looked at again when an object changed. Pure: from the event and the View after it. */
import type { Lease, Node, Pod } from '../../api/kinds/core.ts';
import type { Bouncer, Droplet, Endpoint, Subnet, Vpc } from '../../api/kinds/mizar.ts';
import type { KubeObject } from '../../api/object.ts';
import { APPLICATION_IDS, CLIENT_REGIONS, TELEMETRY_NAMES } from './names.ts';
import type { SimpleEndpoint, View } from './world.ts';
import { keyOf, podKey, SITE_LABEL, subnetKeyOf, vpcKeyOf } from './world.ts';

export interface Trigger {
  readonly area: 'vpc' | 'subnet' | 'endpoint' | 'claim' | 'droplet' | 'record';
  readonly key: string;
}

export interface Change {
  readonly kind: 'Site' | 'Node' | 'Pod' | 'Vpc' | 'Subnet' | 'Droplet' | 'Bouncer' | 'Divider' | 'Endpoint' | 'Lease' | 'ConfigMap';
  /** null = it was not there. */
  readonly before: KubeObject | null;
  /** null = it is gone. */
  readonly after: KubeObject | null;
}

/** Key that stands for every pod without an address. */
export const WAITING = '*waiting';
/** Key that stands for every record. */
export const ALL = '*all';

const on = (area: Trigger['area'], ...keys: readonly string[]): readonly Trigger[] => keys.map((key) => ({ area, key }));

export function triggersOf(change: Change, view: View, heldBy: (pod: Pod) => readonly string[]): readonly Trigger[] {
  const object = change.after ?? change.before;
  if (object === null) return [];
  switch (change.kind) {
    case 'Vpc':
      return isCounting(change) ? [] : [...on('vpc', keyOf(object)), ...on('subnet', ...subnetsOfVpc(object as Vpc, view)), ...on('endpoint', WAITING)];
    case 'Subnet':
      return isCounting(change) ? [] : [...on('vpc', vpcKeyOf(object as Subnet)), ...on('subnet', keyOf(object), ...siblings(object as Subnet, view)), ...on('endpoint', WAITING)];
    case 'Bouncer':
      return on('subnet', subnetKeyOf(object as Bouncer));
    case 'Divider':
      return on('vpc', vpcKeyOf(object as Bouncer));
    case 'Endpoint':
      return ofEndpoint(change, object as Endpoint);
    case 'Pod':
      return [...on('endpoint', podKey(object as Pod)), ...(change.after === null ? on('claim', ...heldBy(object as Pod)) : [])];
    case 'Lease':
      return change.after === null ? on('endpoint', WAITING) : on('claim', (object as Lease).metadata.name);
    case 'Node':
      return nodeFacts(change.before) === nodeFacts(change.after) ? [] : [...ofSite(siteLabel(change.before), view), ...ofSite(siteLabel(change.after), view), ...on('endpoint', WAITING)];
    case 'Droplet':
      return ofDroplet(change, view);
    case 'Site':
      return same(spec(change.before), spec(change.after)) ? [] : on('record', ALL);
    case 'ConfigMap':
      return [CLIENT_REGIONS, APPLICATION_IDS].includes(object.metadata.name) ? on('record', TELEMETRY_NAMES, APPLICATION_IDS) : on('record', object.metadata.name);
  }
}

/** A status that moves nothing: a number of addresses, a message. */
function isCounting({ before, after }: Change): boolean {
  const facts = (o: Vpc | Subnet): unknown => [o.spec, o.metadata.uid, o.metadata.deletionTimestamp ?? '', o.status?.phase ?? '', (o as Vpc).status?.vni ?? 0];
  return before !== null && after !== null && same(facts(before as Vpc), facts(after as Vpc));
}

function ofEndpoint(change: Change, e: Endpoint): readonly Trigger[] {
  const own = on('endpoint', keyOf(e));
  if (e.spec.type === 'front') return [...own, ...on('record', APPLICATION_IDS)];
  const isCountSame = change.before !== null && change.after !== null;
  return e.spec.type === 'simple' && !isCountSame ? [...own, ...on('subnet', subnetKeyOf(e as SimpleEndpoint))] : own;
}

function ofDroplet(change: Change, view: View): readonly Trigger[] {
  const facts = (o: KubeObject | null): unknown => (o === null ? null : [spec(o), o.metadata.labels ?? null]);
  const object = (change.after ?? change.before) as Droplet;
  // A status that somebody else wrote over is put right by the droplet's own loop.
  if (same(facts(change.before), facts(change.after))) return on('droplet', object.metadata.name);
  const sites = new Set([change.before, change.after].flatMap((d) => (d === null ? [] : [(d as Droplet).spec.site])));
  return [...on('droplet', object.metadata.name), ...[...sites].flatMap((s) => ofSite(s, view)), ...on('endpoint', WAITING), ...on('record', ALL)];
}

function ofSite(site: string | undefined, view: View): readonly Trigger[] {
  const subnets = site === undefined ? [] : (view.subnetsBySite.get(site) ?? []);
  return subnets.flatMap((s) => [...on('subnet', keyOf(s)), ...on('vpc', vpcKeyOf(s))]);
}

function subnetsOfVpc(vpc: Vpc, view: View): readonly string[] {
  return view.world.subnets.filter((s) => vpcKeyOf(s) === keyOf(vpc)).map(keyOf);
}

function siblings(subnet: Subnet, view: View): readonly string[] {
  return view.world.subnets.filter((s) => vpcKeyOf(s) === vpcKeyOf(subnet)).map(keyOf);
}

function siteLabel(node: KubeObject | null): string | undefined {
  return node?.metadata.labels?.[SITE_LABEL];
}

/** Heartbeats change a node every few seconds; only these facts matter here. */
function nodeFacts(node: KubeObject | null): string {
  if (node === null) return '';
  return `${siteLabel(node)} ${(node as Node).status?.conditions?.find((c) => c.type === 'Ready')?.status}`;
}

const spec = (o: KubeObject | null): unknown => (o as { readonly spec?: unknown } | null)?.spec ?? null;
const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);
