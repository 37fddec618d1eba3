/** One region as the global scheduler sees it: its objects in memory, whether its API answers, and the writes that go there. */
import type { Client, Place, ResourceId, WriteOptions } from '../../api/client.ts';
import { isMeshError, MeshError } from '../../api/errors.ts';
import type { Deployment, Node, Pod } from '../../api/kinds/core.ts';
import type { Site } from '../../api/kinds/mesh.ts';
import type { Droplet, Endpoint } from '../../api/kinds/mizar.ts';
import type { KubeObject } from '../../api/object.ts';
import { Resources } from '../../api/resources.ts';
import { type Clock, systemClock } from '../../base/clock.ts';
import { type Logger, silentLogger } from '../../base/log.ts';
import { Claims } from './claims.ts';
import { FENCE_ANNOTATION, type Fence, type HeldLease, isOlder, openFence } from './fence.ts';
import { APPLICATION_LABEL, FOREIGN_LABEL, holds, SITE_LABEL } from './region-objects.ts';
import { idOf, View } from './view.ts';

const ALL = { tenant: 'all' } as const;
const OURS = { ...ALL, labelSelector: APPLICATION_LABEL } as const;
const WATCHED = [
  { resource: Resources.Site, list: {} },
  { resource: Resources.Node, list: {} },
  { resource: Resources.Pod, list: OURS },
  { resource: Resources.Deployment, list: OURS },
  { resource: Resources.Endpoint, list: OURS },
  { resource: Resources.Droplet, list: {} },
  { resource: Resources.Tenant, list: {} },
  { resource: Resources.Namespace, list: ALL },
  { resource: Resources.Vpc, list: ALL },
  { resource: Resources.Subnet, list: ALL },
  { resource: Resources.ConfigMap, list: { tenant: 'system', namespace: 'default' } },
] as const;
const NETWORK: ReadonlySet<string> = new Set(['droplets', 'tenants', 'namespaces', 'vpcs', 'subnets', 'configmaps']);
const WRITE_TRIES = 3;

export interface RegionListener {
  /** Something of an application was changed, but not by us. */
  readonly application: (key: string) => void;
  /** A Site, or what says how a zone is. */
  readonly site: () => void;
  /** What `shareNetwork` writes or reads. */
  readonly network: () => void;
}

/** Of what belongs to an application: its key. */
function applicationOf(resource: ResourceId, o: KubeObject): string | null {
  if (resource === Resources.Endpoint) return (o as Endpoint).spec.type === 'front' ? ((o as Endpoint & { readonly spec: { readonly application: string } }).spec.application) : null;
  if (resource !== Resources.Deployment && resource !== Resources.Pod) return null;
  const app = o.metadata.labels?.[APPLICATION_LABEL];
  return app === undefined ? null : `${o.metadata.tenant ?? 'system'}/${o.metadata.namespace ?? 'default'}/${app}`;
}

/** Status and version come and go by themselves; what we care for is the rest. */
function isSameContent(a: KubeObject, b: KubeObject): boolean {
  const content = (o: KubeObject): unknown => {
    const { metadata, status: _s, ...rest } = o as KubeObject & { readonly status?: unknown };
    return { ...rest, labels: metadata.labels ?? {}, leaving: metadata.deletionTimestamp !== undefined };
  };
  return holds(content(a), content(b)) && holds(content(b), content(a));
}

class Index<T> {
  readonly #by = new Map<string, Map<string, T>>();

  set(key: string, id: string, value: T | null): void {
    const members = this.#by.get(key) ?? new Map<string, T>();
    if (value === null) members.delete(id);
    else members.set(id, value);
    if (members.size === 0) this.#by.delete(key);
    else this.#by.set(key, members);
  }

  of(key: string): T[] {
    return [...(this.#by.get(key)?.values() ?? [])];
  }
}

export class Region {
  readonly name: string;
  readonly client: Client;
  answers: boolean | null = null;
  /** Did it ever, since this process began? Until then nothing here is knowledge. */
  hasAnswered = false;
  /** Whose writes may go there, and with which token; open until the scheduler sets it. */
  fence: Fence = openFence;
  readonly #claims: Claims;
  readonly #view: View;
  readonly #pods = new Index<Pod>();
  readonly #nodes = new Index<Node>();
  readonly #deployments = new Index<Deployment>();
  readonly #fronts = new Index<Endpoint>();
  #listener: RegionListener = { application: () => undefined, site: () => undefined, network: () => undefined };
  #relays: Droplet[] | null = null;
  #sites: readonly Site[] | null = null;
  #follow: { readonly log: Logger; readonly clock: Clock; readonly signal: AbortSignal } | null = null;

  constructor(name: string, client: Client) {
    this.name = name;
    this.client = client;
    this.#claims = new Claims(client);
    this.#view = new View(client, WATCHED, { index: (r, o, before) => this.#index(r, o, before), tell: (r, o, before) => this.#tell(r, o, before) });
  }

  listen(listener: RegionListener): void {
    this.#listener = listener;
  }

  /** From now on `refresh` only asks whether the API answers; what it holds comes by watches. */
  follow(signal: AbortSignal, log: Logger = silentLogger, clock: Clock = systemClock): void {
    this.#follow = { signal, log, clock };
  }

  /** From now on the region refuses what an earlier holder of the Lease still writes. Throws `conflict` when it knows of a later one. */
  claim(lease: HeldLease): Promise<void> {
    return this.#claims.claim(lease);
  }

  async close(): Promise<void> {
    await this.#view.unfollow();
  }

  /** Asks the API; on failure what was known stays and `answers` is false. Returns the error that made it so. */
  async refresh(): Promise<unknown> {
    try {
      if (this.#follow === null) await this.#view.refresh();
      else await this.#isHeard(this.#follow);
      this.answers = true;
      this.hasAnswered = true;
      return null;
    } catch (error) {
      this.answers = false;
      return error;
    }
  }

  /** After silence the watches begin anew: a connection that lies dead would tell nothing for a long time. */
  async #isHeard(f: { readonly log: Logger; readonly clock: Clock; readonly signal: AbortSignal }): Promise<void> {
    await this.client.get(Resources.Tenant, { tenant: null, namespace: null }, 'system').catch((error: unknown) => {
      if (!isMeshError(error, 'not-found')) throw error;
    });
    if (this.answers !== true || !this.#view.isFollowing) await this.#view.follow(f.log, f.clock, f.signal);
  }

  get sites(): readonly Site[] {
    this.#sites ??= [...this.#view.all<Site>(Resources.Site).values()];
    return this.#sites;
  }

  /** silent: the region has not heard them for long. */
  nodesOf(site: string): { readonly known: number; readonly ready: number; readonly silent: number } {
    const its = this.#nodes.of(site);
    const count = (status: string): number => its.filter((n) => n.status?.conditions?.some((c) => c.type === 'Ready' && c.status === status)).length;
    return { known: its.length, ready: count('True'), silent: count('Unknown') };
  }

  of<T extends KubeObject>(resource: ResourceId): T[] {
    return [...this.#view.all<T>(resource).values()];
  }

  deployment(tenant: string, namespace: string, name: string): Deployment | null {
    return this.#view.find<Deployment>(Resources.Deployment, `${tenant}|${namespace}|${name}`);
  }

  /** By application key. */
  deploymentsOf(key: string): readonly Deployment[] {
    return this.#deployments.of(key);
  }

  frontsOf(key: string): readonly Endpoint[] {
    return this.#fronts.of(key);
  }

  relays(): Droplet[] {
    this.#relays ??= this.of<Droplet>(Resources.Droplet).filter((d) => d.spec.relay !== undefined && d.metadata.labels?.[FOREIGN_LABEL] !== 'true');
    return this.#relays;
  }

  /** Those of an application at a site that have not ended, whether Ready, starting or leaving. */
  podsAt(key: string, site: string): Pod[] {
    return this.#pods.of(`${key}|${site}`).filter(({ status }) => status?.phase !== 'Failed' && status?.phase !== 'Succeeded');
  }

  podsOf(tenant: string, namespace: string, app: string, site: string): { readonly ready: readonly string[]; readonly leaving: readonly string[] } {
    const ready: string[] = [];
    const leaving: string[] = [];
    for (const p of this.#pods.of(`${tenant}/${namespace}/${app}|${site}`)) {
      const m = p.metadata;
      const ip = p.status?.podIP;
      if (ip === undefined || ip === '' || p.status?.phase === 'Failed' || p.status?.phase === 'Succeeded') continue;
      const isReady = p.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') === true;
      if (isReady && m.deletionTimestamp === undefined) ready.push(ip);
      else if (m.deletionTimestamp !== undefined) leaving.push(ip);
    }
    return { ready, leaving };
  }

  /** Makes the region hold `want`; true = something was written. Conditional: a version or a token that is newer than what we know refuses it. */
  async ensure(resource: ResourceId, want: KubeObject): Promise<boolean> {
    const key = applicationOf(resource, want);
    let have = this.#view.find(resource, idOf(resource, want));
    for (let tries = 1; ; tries++) {
      const stamp = this.fence.stamp(key);
      const annotations = stamp === null ? undefined : { [FENCE_ANNOTATION]: stamp };
      if (have !== null && have.metadata.deletionTimestamp !== undefined) return false;
      if (have !== null && this.#isAsWanted(resource, have, want, stamp)) return tries > 1;
      try {
        const [known, fresh] = [have, stamp === null ? want : { ...want, metadata: { ...want.metadata, annotations: { ...want.metadata.annotations, ...annotations } } }];
        this.#view.put(resource, await this.#claims.write(this.fence, key, (o) => (known === null ? this.client.create(resource, fresh, o) : this.#patch(resource, known, want, annotations, o))));
        return true;
      } catch (error) {
        if (tries >= WRITE_TRIES || !(isMeshError(error, 'conflict') || isMeshError(error, 'already-exists') || isMeshError(error, 'not-found'))) throw error;
        have = await this.#read(resource, want);
        if (have !== null && stamp !== null && isOlder(stamp, have.metadata.annotations?.[FENCE_ANNOTATION])) throw new MeshError('conflict', `${want.kind} ${want.metadata.name} belongs to a newer holder of its shard`, { cause: error });
      }
    }
  }

  /** After a shard came to us: what its holder before still writes finds another version. */
  async seal(resource: ResourceId, target: KubeObject): Promise<void> {
    const key = applicationOf(resource, target);
    const stamp = this.fence.stamp(key);
    let have: KubeObject | null = target;
    for (let tries = 1; have !== null && stamp !== null && have.metadata.annotations?.[FENCE_ANNOTATION] !== stamp; tries++) {
      try {
        const { name, resourceVersion } = have.metadata;
        const place = this.#place(resource, have);
        this.#view.put(resource, await this.#claims.write(this.fence, key, (o) => this.client.patch(resource, place, name, { metadata: { annotations: { [FENCE_ANNOTATION]: stamp }, resourceVersion } }, o)));
        return;
      } catch (error) {
        if (tries >= WRITE_TRIES || !(isMeshError(error, 'conflict') || isMeshError(error, 'not-found'))) throw error;
        have = await this.#read(resource, have);
        if (have !== null && isOlder(stamp, have.metadata.annotations?.[FENCE_ANNOTATION])) throw new MeshError('conflict', `${have.kind} ${have.metadata.name} belongs to a newer holder of its shard`, { cause: error });
      }
    }
  }

  /** A Deployment also carries the token of who holds its shard now: that is what refuses a late write of the holder before. */
  #isAsWanted(resource: ResourceId, have: KubeObject, want: KubeObject, stamp: string | null): boolean {
    const { apiVersion: _v, kind: _k, metadata, status: _s, ...content } = want as KubeObject & { readonly status?: unknown };
    const isStamped = stamp === null || resource !== Resources.Deployment || have.metadata.annotations?.[FENCE_ANNOTATION] === stamp;
    return isStamped && holds(have, content) && holds(have.metadata.labels ?? {}, metadata.labels ?? {}) && holds(have.metadata.annotations ?? {}, metadata.annotations ?? {});
  }

  #patch(resource: ResourceId, have: KubeObject, want: KubeObject, annotations: Readonly<Record<string, string>> | undefined, options: WriteOptions): Promise<KubeObject> {
    const { apiVersion: _v, kind: _k, metadata, status: _s, ...content } = want as KubeObject & { readonly status?: unknown };
    const { labels } = metadata;
    const notes = { ...metadata.annotations, ...annotations };
    const body = { ...content, metadata: { ...(labels === undefined ? {} : { labels }), ...(Object.keys(notes).length === 0 ? {} : { annotations: notes }), resourceVersion: have.metadata.resourceVersion } };
    return this.client.patch(resource, this.#place(resource, want), want.metadata.name, body, options);
  }

  async #read(resource: ResourceId, want: KubeObject): Promise<KubeObject | null> {
    try {
      const found = await this.client.get<KubeObject>(resource, this.#place(resource, want), want.metadata.name);
      this.#view.put(resource, found);
      return found;
    } catch (error) {
      if (!isMeshError(error, 'not-found')) throw error;
      this.#view.drop(resource, want);
      return null;
    }
  }

  /** null takes an annotation away. The uid keeps it from a later pod of the same name. */
  async annotate(pod: Pod, annotations: Readonly<Record<string, string | null>>): Promise<void> {
    const body = { metadata: { annotations, ...(pod.metadata.uid === undefined ? {} : { uid: pod.metadata.uid }) } };
    this.#view.put(Resources.Pod, await this.#claims.write(this.fence, applicationOf(Resources.Pod, pod), (o) => this.client.patch<Pod>(Resources.Pod, this.#place(Resources.Pod, pod), pod.metadata.name, body, o)));
  }

  async remove(resource: ResourceId, target: KubeObject): Promise<void> {
    const have = this.#view.find(resource, idOf(resource, target));
    if (have === null) return;
    const { uid } = have.metadata;
    await this.#claims.write(this.fence, applicationOf(resource, have), (o) => this.client.delete(resource, this.#place(resource, target), target.metadata.name, { ...o, ...(uid === undefined ? {} : { uid }) })).catch((error: unknown) => {
      if (!isMeshError(error, 'not-found')) throw error;
    });
    this.#view.drop(resource, have);
  }

  #place(resource: ResourceId, o: KubeObject): Place {
    return { tenant: resource.scope === 'cluster' ? null : (o.metadata.tenant ?? 'system'), namespace: resource.scope === 'namespace' ? (o.metadata.namespace ?? 'default') : null };
  }

  #index(resource: ResourceId, object: KubeObject | null, previous: KubeObject | null): void {
    if (resource === Resources.Site) this.#sites = null;
    else if (resource === Resources.Droplet) this.#relays = null;
    const move = <T extends KubeObject>(index: Index<T>, keyOf: (o: KubeObject) => string | null): void => {
      const [before, now] = [previous === null ? null : keyOf(previous), object === null ? null : keyOf(object)];
      if (before !== null && before !== now) index.set(before, idOf(resource, previous as KubeObject), null);
      if (now !== null) index.set(now, idOf(resource, object as KubeObject), object as T);
    };
    const siteOf = (o: KubeObject): string => o.metadata.labels?.[SITE_LABEL] ?? '';
    if (resource === Resources.Pod) move(this.#pods, (o) => `${applicationOf(resource, o) ?? ''}|${siteOf(o)}`);
    else if (resource === Resources.Node) move(this.#nodes, siteOf);
    else if (resource === Resources.Deployment) move(this.#deployments, (o) => applicationOf(resource, o));
    else if (resource === Resources.Endpoint) move(this.#fronts, (o) => applicationOf(resource, o));
  }

  #tell(resource: ResourceId, object: KubeObject | null, previous: KubeObject | null): void {
    if (resource === Resources.Site || resource === Resources.Node) this.#listener.site();
    if (NETWORK.has(resource.plural) && (object === null || previous === null || !isSameContent(object, previous))) this.#listener.network();
    for (const o of [object, previous]) {
      const key = o === null ? null : applicationOf(resource, o);
      if (key !== null) this.#listener.application(key);
    }
  }
}
