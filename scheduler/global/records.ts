/** What the scheduler writes to the global API: placements with their reasons, the sites it knows, indexes and numbers that must never change. */
import type { Client, ResourceId, WriteOptions } from '../../api/client.ts';
import { isMeshError, MeshError } from '../../api/errors.ts';
import type { Application, Placement, Site } from '../../api/kinds/mesh.ts';
import type { Vpc } from '../../api/kinds/mizar.ts';
import type { KubeObject } from '../../api/object.ts';
import { Resources } from '../../api/resources.ts';
import type { Logger } from '../../base/log.ts';

import { FENCE_ANNOTATION, type Fence, fenced } from './fence.ts';
import type { GlobalView } from './global-view.ts';
import { type ConfigMap, holds, keyOf } from './region-objects.ts';
import type { Region } from './region.ts';
import type { GlobalObjects } from './world.ts';

export interface Network {
  /** Stable number of every site that ever was. */
  readonly siteIndex: ReadonlyMap<string, number>;
  /** `<tenant>/<vpc>` to its VNI. */
  readonly vnis: ReadonlyMap<string, number>;
}

const SYSTEM = { tenant: 'system', namespace: 'default' } as const;
const FIRST_VNI = 4096;
const LAST_VNI = 0xff_ff_ff;

function isGone(site: Site, regions: readonly Region[]): boolean {
  const its = regions.find((r) => r.name === site.spec.region);
  return its === undefined ? regions.every((r) => r.answers === true) : its.answers === true;
}

/** Renewed every few seconds by the gateway: written with the next change that says more, or when it is this old. */
const SEEN_MS = 30_000;

function isSameStatus(have: Site['status'], want: NonNullable<Site['status']>): boolean {
  if (have === undefined) return false;
  const { lastSeen: had, ...before } = have;
  const { lastSeen: has, ...now } = want;
  if (!holds(before, now)) return false;
  return has === had || (had !== undefined && has !== undefined && Math.abs(Date.parse(has) - Date.parse(had)) < SEEN_MS);
}

export class Records {
  readonly #client: Client;
  readonly #log: Logger;
  readonly #view: GlobalView;
  readonly #fence: Fence;
  readonly #refused = new Map<string, string>();
  /** By name of the site: what was written last. */
  #mirrored = new Map<string, Site>();

  constructor(client: Client, log: Logger, view: GlobalView, fence: Fence) {
    this.#client = client;
    this.#log = log;
    this.#view = view;
    this.#fence = fence;
  }

  /**
   * Writes what regions say of their sites, when they say something new; a Site that its own region, answering, has no more is deleted, as is
   * one of a region that is not ours any more once no region has it.
   */
  async mirrorSites(sites: readonly Site[], regions: readonly Region[]): Promise<void> {
    const mirrored = new Map<string, Site>();
    for (const site of sites) {
      const { name } = site.metadata;
      const have = this.#view.site(name);
      if (have === null || this.#mirrored.get(name) !== site) await this.#mirror(site, have);
      mirrored.set(name, site);
    }
    this.#mirrored = mirrored;
    for (const site of this.#view.sites()) {
      if (mirrored.has(site.metadata.name) || !isGone(site, regions)) continue;
      this.#log.info('site is in no region any more', { site: site.metadata.name, region: site.spec.region });
      await this.#delete(null, Resources.Site, { tenant: null, namespace: null }, site.metadata.name);
      this.#view.drop(site);
    }
  }

  async #mirror(site: Site, known: Site | null): Promise<void> {
    const { name, labels } = site.metadata;
    const place = { tenant: null, namespace: null };
    const want: Site = { apiVersion: site.apiVersion, kind: 'Site', metadata: { name, ...(labels === undefined ? {} : { labels }) }, spec: site.spec };
    let have = known;
    if (have === null) have = await this.#write(null, (o) => this.#client.create(Resources.Site, want, o));
    else if (!holds(have.spec, want.spec)) have = await this.#write(null, (o) => this.#client.patch<Site>(Resources.Site, place, name, { spec: want.spec, metadata: { labels: labels ?? {} } }, o));
    if (site.status !== undefined && !isSameStatus(have.status, site.status)) have = await this.#write(null, (o) => this.#client.patch<Site>(Resources.Site, place, name, { status: site.status }, { ...o, subresource: 'status' }));
    this.#view.put(have);
  }

  /** Gives new sites an index and new VPCs a VNI, and keeps both before anybody uses them. */
  async network(sites: readonly Site[], objects: GlobalObjects): Promise<Network> {
    const stored = await this.#find<ConfigMap>(Resources.ConfigMap, 'site-index');
    const siteIndex = new Map(Object.entries(stored?.data ?? {}).map(([site, index]) => [site, Number(index)]));
    const missing = sites.map((s) => s.metadata.name).filter((name) => !siteIndex.has(name)).sort();
    for (const name of missing) siteIndex.set(name, Math.max(-1, ...siteIndex.values()) + 1);
    if (missing.length > 0) {
      const data = Object.fromEntries([...siteIndex].map(([name, index]) => [name, String(index)]));
      if (stored === null) await this.#write(null, (o) => this.#client.create<ConfigMap>(Resources.ConfigMap, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'site-index', ...SYSTEM }, data }, o));
      else await this.#write(null, (o) => this.#client.update<ConfigMap>(Resources.ConfigMap, { ...stored, data }, o));
    }
    return { siteIndex, vnis: await this.#vnis(objects) };
  }

  async #vnis(objects: GlobalObjects): Promise<ReadonlyMap<string, number>> {
    const vnis = new Map<string, number>();
    for (const [key, vpc] of objects.vpcs) {
      const vni = vpc.spec.vni ?? vpc.status?.vni;
      if (vni !== undefined) vnis.set(key, vni);
    }
    const used = new Set(vnis.values());
    for (const [key, vpc] of objects.vpcs) {
      if (vnis.has(key)) continue;
      let vni = FIRST_VNI;
      while (used.has(vni)) vni += 1;
      if (vni > LAST_VNI) throw new MeshError('too-large', 'all 24-bit VNIs are in use');
      const given = vni;
      const made = await this.#write(null, (o) => this.#client.patch<Vpc>(Resources.Vpc, { tenant: vpc.metadata.tenant ?? 'system', namespace: null }, vpc.metadata.name, { status: { phase: 'Provisioned', vni: given } }, { ...o, subresource: 'status' }));
      this.#view.put(made);
      used.add(vni);
      vnis.set(key, vni);
    }
    return vnis;
  }

  /** Writes only what differs from `have`, and only over the version that is known; the spec and the memory go before the status. */
  async placement(app: Application, have: Placement | undefined, want: { readonly spec: Placement['spec']; readonly annotations: Readonly<Record<string, string>>; readonly status: NonNullable<Placement['status']> }): Promise<void> {
    const { name, namespace = 'default', tenant = 'system' } = app.metadata;
    const place = { tenant, namespace };
    const { plannedAt: _at, ...spec } = want.spec;
    const annotations = this.#stamped(keyOf(app), want.annotations);
    let known = have;
    if (known === undefined) known = await this.#write(keyOf(app), (o) => this.#client.create<Placement>(Resources.Placement, { apiVersion: 'mesh.proxima.io/v1', kind: 'Placement', metadata: { name, ...place, annotations }, spec: want.spec }, o));
    else if (!holds(known.spec, spec) || !holds(known.metadata.annotations ?? {}, annotations)) known = await this.#patchPlacement(known, { metadata: { annotations }, spec: want.spec });
    this.#view.put(known);
    if (holds(known.status ?? {}, want.status)) return;
    this.#view.put(await this.#patchPlacement(known, { status: want.status }, { subresource: 'status' }));
  }

  /** After a shard came to us: what its holder before still writes finds another version. */
  async seal(placement: Placement): Promise<void> {
    const annotations = this.#stamped(keyOf(placement), {});
    if (holds(placement.metadata.annotations ?? {}, annotations)) return;
    this.#view.put(await this.#patchPlacement(placement, { metadata: { annotations } }));
  }

  #stamped(key: string, annotations: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
    const stamp = this.#fence.stamp(key);
    return stamp === null ? annotations : { ...annotations, [FENCE_ANNOTATION]: stamp };
  }

  async #patchPlacement(known: Placement, body: { readonly metadata?: object; readonly spec?: unknown; readonly status?: unknown }, options?: { readonly subresource: 'status' }): Promise<Placement> {
    const { name, namespace = 'default', tenant = 'system', resourceVersion } = known.metadata;
    const place = { tenant, namespace };
    try {
      return await this.#write(keyOf(known), (o) => this.#client.patch<Placement>(Resources.Placement, place, name, { ...body, metadata: { ...body.metadata, resourceVersion } }, { ...o, ...options }));
    } catch (error) {
      // somebody wrote meanwhile: what is there counts, and the next pass decides from it
      if (isMeshError(error, 'conflict')) this.#view.put(await this.#client.get<Placement>(Resources.Placement, place, name));
      throw error;
    }
  }

  async applicationStatus(app: Application, status: NonNullable<Application['status']>): Promise<void> {
    const now = this.#view.objects.applications.get(keyOf(app)) ?? app;
    if (holds(now.status ?? {}, status)) return;
    const { name, namespace = 'default', tenant = 'system' } = app.metadata;
    const written = await this.#write(keyOf(app), (o) => this.#client.patch<Application>(Resources.Application, { tenant, namespace }, name, { status, metadata: { resourceVersion: now.metadata.resourceVersion } }, { ...o, subresource: 'status' }));
    this.#view.put(written);
  }

  async refuse(app: Application | undefined, message: string, phase: 'Pending' | 'Unmet'): Promise<void> {
    if (app === undefined) return;
    const key = keyOf(app);
    if (this.#refused.get(key) !== message) this.#log.warn('application refused', { application: key, reason: message });
    this.#refused.set(key, message);
    await this.applicationStatus(app, { phase, message });
  }

  /** Does the global API itself have the application of a Placement, whatever is known of it here? One that is on its way out does not count. */
  async hasApplication(placement: Placement): Promise<boolean> {
    const { name, namespace = 'default', tenant = 'system' } = placement.metadata;
    try {
      return (await this.#client.get<Application>(Resources.Application, { tenant, namespace }, name)).metadata.deletionTimestamp === undefined;
    } catch (error) {
      if (isMeshError(error, 'not-found')) return false;
      throw error;
    }
  }

  async forget(placement: Placement): Promise<void> {
    const { name, namespace = 'default', tenant = 'system' } = placement.metadata;
    await this.#delete(keyOf(placement), Resources.Placement, { tenant, namespace }, name);
    this.#view.drop(placement);
  }

  #write<T>(key: string | null, write: (options: WriteOptions) => Promise<T>): Promise<T> {
    return fenced(this.#fence, key, write);
  }

  async #delete(key: string | null, resource: ResourceId, place: { readonly tenant: string | null; readonly namespace: string | null }, name: string): Promise<void> {
    await this.#write(key, (o) => this.#client.delete(resource, place, name, o)).catch((error: unknown) => {
      if (!isMeshError(error, 'not-found')) throw error;
    });
  }

  async #find<T extends KubeObject>(resource: ResourceId, name: string): Promise<T | null> {
    try {
      return await this.#client.get<T>(resource, SYSTEM, name);
    } catch (error) {
      if (isMeshError(error, 'not-found')) return null;
      throw error;
    }
  }
}
