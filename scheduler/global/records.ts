/** What the scheduler writes to the global API: placements with their reasons, the sites it knows, indexes and numbers that must never change. */
import type { Client, ResourceId } from '../../api/client.ts';
import { isMeshError, MeshError } from '../../api/errors.ts';
import type { Application, Placement, Site } from '../../api/kinds/mesh.ts';
import type { KubeObject } from '../../api/object.ts';
import { Resources } from '../../api/resources.ts';
import type { Logger } from '../../base/log.ts';
import { type ConfigMap, holds } from './region-objects.ts';
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

export class Records {
  readonly #client: Client;
  readonly #log: Logger;
  readonly #refused = new Map<string, string>();

  constructor(client: Client, log: Logger) {
    this.#client = client;
    this.#log = log;
  }

  /**
   * Writes what regions say of their sites; a Site that its own region, answering, has no more is deleted, as is one of a region that is not
   * ours any more once no region has it. Returns what the global API holds then.
   */
  async mirrorSites(sites: readonly Site[], regions: readonly Region[]): Promise<readonly Site[]> {
    const known = new Map((await this.#client.list<Site>(Resources.Site)).items.map((s) => [s.metadata.name, s]));
    for (const site of sites) {
      const { name, labels } = site.metadata;
      const have = known.get(name);
      const want: Site = { apiVersion: site.apiVersion, kind: 'Site', metadata: { name, ...(labels === undefined ? {} : { labels }) }, spec: site.spec };
      const place = { tenant: null, namespace: null };
      if (have === undefined) await this.#client.create(Resources.Site, want);
      else if (!holds(have.spec, want.spec)) await this.#client.patch(Resources.Site, place, name, { spec: want.spec, metadata: { labels: labels ?? {} } });
      if (site.status !== undefined && !holds(have?.status, site.status)) await this.#client.patch(Resources.Site, place, name, { status: site.status }, { subresource: 'status' });
    }
    const there = new Set(sites.map((s) => s.metadata.name));
    const gone = [...known.values()].filter((s) => !there.has(s.metadata.name) && isGone(s, regions));
    for (const site of gone) {
      this.#log.info('site is in no region any more', { site: site.metadata.name, region: site.spec.region });
      await this.#delete(Resources.Site, { tenant: null, namespace: null }, site.metadata.name);
      known.delete(site.metadata.name);
    }
    return [...known.values()];
  }

  /** Gives new sites an index and new VPCs a VNI, and keeps both before anybody uses them. */
  async network(sites: readonly Site[], objects: GlobalObjects): Promise<Network> {
    const stored = await this.#find<ConfigMap>(Resources.ConfigMap, 'site-index');
    const siteIndex = new Map(Object.entries(stored?.data ?? {}).map(([site, index]) => [site, Number(index)]));
    const missing = sites.map((s) => s.metadata.name).filter((name) => !siteIndex.has(name)).sort();
    for (const name of missing) siteIndex.set(name, Math.max(-1, ...siteIndex.values()) + 1);
    if (missing.length > 0) {
      const data = Object.fromEntries([...siteIndex].map(([name, index]) => [name, String(index)]));
      if (stored === null) await this.#client.create<ConfigMap>(Resources.ConfigMap, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'site-index', ...SYSTEM }, data });
      else await this.#client.update<ConfigMap>(Resources.ConfigMap, { ...stored, data });
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
      await this.#client.patch(Resources.Vpc, { tenant: vpc.metadata.tenant ?? 'system', namespace: null }, vpc.metadata.name, { status: { phase: 'Provisioned', vni } }, { subresource: 'status' });
      used.add(vni);
      vnis.set(key, vni);
    }
    return vnis;
  }

  /** Writes only what differs from `have`; the spec and the memory go before the status. */
  async placement(app: Application, have: Placement | undefined, want: { readonly spec: Placement['spec']; readonly annotations: Readonly<Record<string, string>>; readonly status: NonNullable<Placement['status']> }): Promise<void> {
    const { name, namespace = 'default', tenant = 'system' } = app.metadata;
    const place = { tenant, namespace };
    const { plannedAt: _at, ...spec } = want.spec;
    if (have === undefined) await this.#client.create<Placement>(Resources.Placement, { apiVersion: 'mesh.proxima.io/v1', kind: 'Placement', metadata: { name, ...place, annotations: want.annotations }, spec: want.spec });
    else if (!holds(have.spec, spec) || !holds(have.metadata.annotations ?? {}, want.annotations)) await this.#client.patch(Resources.Placement, place, name, { metadata: { annotations: want.annotations }, spec: want.spec });
    if (!holds(have?.status ?? {}, want.status)) await this.#client.patch(Resources.Placement, place, name, { status: want.status }, { subresource: 'status' });
  }

  async applicationStatus(app: Application, status: NonNullable<Application['status']>): Promise<void> {
    if (holds(app.status ?? {}, status)) return;
    const { name, namespace = 'default', tenant = 'system' } = app.metadata;
    await this.#client.patch(Resources.Application, { tenant, namespace }, name, { status }, { subresource: 'status' });
  }

  async refuse(app: Application | undefined, message: string, phase: 'Pending' | 'Unmet'): Promise<void> {
    if (app === undefined) return;
    const key = `${app.metadata.tenant ?? 'system'}/${app.metadata.namespace ?? 'default'}/${app.metadata.name}`;
    if (this.#refused.get(key) !== message) this.#log.warn('application refused', { application: key, reason: message });
    this.#refused.set(key, message);
    await this.applicationStatus(app, { phase, message });
  }

  async forget(placement: Placement): Promise<void> {
    const { name, namespace = 'default', tenant = 'system' } = placement.metadata;
    await this.#delete(Resources.Placement, { tenant, namespace }, name);
  }

  async #delete(resource: ResourceId, place: { readonly tenant: string | null; readonly namespace: string | null }, name: string): Promise<void> {
    await this.#client.delete(resource, place, name).catch((error: unknown) => {
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
