/** What every region's network plane must know of the others: client regions, foreign relays, each tenant's VPCs and everybody's subnets. */
import type { Site } from '../../api/kinds/mesh.ts';
import type { Droplet } from '../../api/kinds/mizar.ts';
import type { KubeObject } from '../../api/object.ts';
import { Resources } from '../../api/resources.ts';
import type { ResourceId } from '../../api/client.ts';
import type { ClientRegionConfig } from './global-scheduler.ts';
import type { Surroundings } from './move.ts';
import type { Network } from './records.ts';
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

export async function shareNetwork(around: Surroundings, sites: readonly Site[], objects: GlobalObjects, network: Network, clientRegions: readonly ClientRegionConfig[]): Promise<void> {
  await Promise.all(
    around.regions.map(async (region) => {
      if (region.answers !== true) return;
      try {
        for (const [resource, object] of wantedIn(region.name, around, sites, objects, network, clientRegions)) await region.ensure(resource, object);
        const known = new Set(around.regions.filter((r) => r.answers === true || r.relays().length > 0).flatMap((r) => r.relays().map((d) => `${r.name}.${d.metadata.name}`)));
        const isAllKnown = around.regions.every((r) => r.answers === true);
        for (const d of region.of<Droplet>(Resources.Droplet)) if (isAllKnown && d.metadata.labels?.[FOREIGN_LABEL] === 'true' && !known.has(d.metadata.name)) await region.remove(Resources.Droplet, d);
      } catch (error) {
        around.log.warn('network not shared with region', { region: region.name, err: error });
      }
    }),
  );
}
