/** What every region's network plane must know of the others: client regions, foreign relays, each tenant's VPCs and everybody's subnets. */
import type { Site } from '../../api/kinds/mesh.ts';
import type { Droplet } from '../../api/kinds/mizar.ts';
import type { KubeObject } from '../../api/object.ts';
import { Resources } from '../../api/resources.ts';
import type { ResourceId } from '../../api/client.ts';
import type { ClientRegionConfig } from './global-scheduler.ts';
import type { Surroundings } from './move.ts';
import type { Logger } from '../../base/log.ts';
import type { Network, Records } from './records.ts';
import type { Region } from './region.ts';
import { clientRegionsObject, foreignRelay, FOREIGN_LABEL, subnetObject, vpcObject } from './region-objects.ts';
import type { GlobalObjects } from './world.ts';

function wantedIn(region: string, around: Surroundings, sites: readonly Site[], objects: GlobalObjects, network: Network, clientRegions: readonly ClientRegionConfig[]): [ResourceId, KubeObject][] {
  const want: [ResourceId, KubeObject][] = [];
  const kinds = new Map(sites.map((s) => [s.metadata.name, s.spec.kind]));
  for (const other of around.regions) {
    if (other.name === region) continue;
    for (const d of other.relays()) want.push([Resources.Droplet, foreignRelay(d, other.name, kinds.get(d.spec.site) ?? 'edge')]);
  }
  const used = new Map([...objects.applications.values()].map((a) => [`${a.metadata.tenant ?? 'system'}/${a.spec.vpc}`, a]));
  for (const [key, app] of used) {
    const vpc = objects.vpcs.get(key);
    const vni = network.vnis.get(key);
    const tenant = app.metadata.tenant ?? 'system';
    if (vpc === undefined || vni === undefined) continue;
    want.push([Resources.Tenant, { apiVersion: 'v1', kind: 'Tenant', metadata: { name: tenant } }]);
    want.push([Resources.Vpc, vpcObject(tenant, vpc, vni)]);
    for (const site of sites) want.push([Resources.Subnet, subnetObject(tenant, vpc, site.metadata.name, network.siteIndex.get(site.metadata.name) ?? -1, site.spec.region !== region)]);
  }
  for (const app of objects.applications.values()) {
    const { tenant = 'system', namespace = 'default' } = app.metadata;
    want.push([Resources.Namespace, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace, tenant } }]);
  }
  if (clientRegions.length > 0) want.push([Resources.ConfigMap, clientRegionsObject(clientRegions)]);
  return want;
}

async function share(region: Region, around: Surroundings, sites: readonly Site[], objects: GlobalObjects, network: Network, clientRegions: readonly ClientRegionConfig[]): Promise<boolean> {
  try {
    for (const [resource, object] of wantedIn(region.name, around, sites, objects, network, clientRegions)) await region.ensure(resource, object);
    const known = new Set(around.regions.filter((r) => r.answers === true || r.relays().length > 0).flatMap((r) => r.relays().map((d) => `${r.name}.${d.metadata.name}`)));
    const isAllKnown = around.regions.every((r) => r.answers === true);
    for (const d of region.of<Droplet>(Resources.Droplet)) if (isAllKnown && d.metadata.labels?.[FOREIGN_LABEL] === 'true' && !known.has(d.metadata.name)) await region.remove(Resources.Droplet, d);
    return true;
  } catch (error) {
    around.log.warn('network not shared with region', { region: region.name, err: error });
    return false;
  }
}

/** Done by one instance for all: the mirrored Sites, their numbers, and the network that regions must know of each other. Only when something changed. */
export class NetworkChores {
  readonly #records: Records;
  readonly #regions: readonly Region[];
  readonly #clientRegions: readonly ClientRegionConfig[];
  readonly #log: Logger;
  #isNetworkDue = true;
  #areSitesDue = true;
  #names = '';

  constructor(records: Records, regions: readonly Region[], clientRegions: readonly ClientRegionConfig[], log: Logger) {
    this.#records = records;
    this.#regions = regions;
    this.#clientRegions = clientRegions;
    this.#log = log;
  }

  touch(): void {
    this.#isNetworkDue = this.#areSitesDue = true;
  }

  touchSites(): void {
    this.#areSitesDue = true;
  }

  /** `heard`: what the regions themselves say of their sites. What fails is due again. */
  async run(sites: readonly Site[], heard: readonly Site[], objects: GlobalObjects, around: Surroundings): Promise<void> {
    const names = sites.map((s) => `${s.metadata.name} ${s.spec.kind} ${s.spec.region}`).join();
    if (names !== this.#names) this.touch();
    try {
      if (this.#areSitesDue) {
        this.#areSitesDue = false;
        await this.#records.mirrorSites(heard, this.#regions);
      }
      if (!this.#isNetworkDue) return;
      this.#isNetworkDue = false;
      const network = await this.#records.network(sites, objects);
      const done = await Promise.all(around.regions.filter((r) => r.answers === true).map((r) => share(r, around, sites, objects, network, this.#clientRegions)));
      this.#isNetworkDue ||= done.includes(false);
      this.#names = names;
    } catch (error) {
      this.touch();
      this.#log.warn('chores of the network not done', { err: error });
    }
  }
}
