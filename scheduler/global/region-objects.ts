/** The objects that a region's API must hold for one application. Pure; names and labels are the contract with the regional planes. */
import type { Deployment } from '../../api/kinds/core.ts';
import type { Application } from '../../api/kinds/mesh.ts';
import type { Backend, Droplet, Endpoint, Subnet, Vpc } from '../../api/kinds/mizar.ts';
import type { KubeObject } from '../../api/object.ts';
import { MeshError } from '../../api/errors.ts';

export const APPLICATION_LABEL = 'mesh.proxima.io/application';
export const SITE_LABEL = 'mesh.proxima.io/site';
export const FOREIGN_LABEL = 'mesh.proxima.io/foreign';
export const SITE_KIND_LABEL = 'mesh.proxima.io/site-kind';
export const REGION_LABEL = 'topology.kubernetes.io/region';

/** On the pod template: which of the instances that an application had at a site one after the other these are; absent = 0. */
export const EPOCH_ANNOTATION = 'mesh.proxima.io/epoch';
/** On the pod template: the node stops the pod when it had no word from its region for so many seconds. */
export const FENCE_AFTER_ANNOTATION = 'mesh.proxima.io/fence-after-seconds';
/** Of a pod's status, by its node: True when the node would stop it by itself; the message is after how many seconds. */
export const FENCE_CONDITION = 'mesh.proxima.io/FenceArmed';
/** On the pod template of a VM with state, `<site>/<pod uid>`: whose state it begins with. */
export const RESTORE_ANNOTATION = 'mesh.proxima.io/restore-from';
/** On a deployment: of which generation of its Application its template is. */
export const GENERATION_ANNOTATION = 'mesh.proxima.io/application-generation';
/** On a pod whose VM is to go to another site: its name. */
export const SEND_ANNOTATION = 'mesh.proxima.io/send-to';
/** On a pod, by the agents: how a transfer goes, as JSON. */
export const MIGRATION_ANNOTATION = 'mesh.proxima.io/migration';
/** On the template of an Application, "true": a move takes the state of the VM along. */
export const STATEFUL_ANNOTATION = 'mesh.proxima.io/stateful';
/** On a pod: the lower, the sooner its replica set takes it when the number is lowered. */
export const DELETION_COST_ANNOTATION = 'controller.kubernetes.io/pod-deletion-cost';

export interface ConfigMap extends KubeObject {
  readonly data?: Readonly<Record<string, string>>;
}

export interface AppPlace {
  readonly tenant: string;
  readonly namespace: string;
  readonly name: string;
}

export const keyOf = (object: KubeObject): string => `${object.metadata.tenant ?? 'system'}/${object.metadata.namespace ?? 'default'}/${object.metadata.name}`;

export function placeOf(key: string): AppPlace {
  const [tenant = '', namespace = '', name = ''] = key.split('/');
  return { tenant, namespace, name };
}

export const deploymentName = (app: string, site: string): string => `${app}-${site}`;
export const frontName = (a: AppPlace, site: string): string => `front-${a.namespace}-${a.name}-${site}`;
export const subnetName = (vpc: string, site: string): string => `${vpc}-${site}`;

/** The n-th /24 of the VPC belongs to the site with index n. */
export function siteSlice(vpcCidr: string, index: number): string {
  const [address = '', bits = '0'] = vpcCidr.split('/');
  const slices = 2 ** (24 - Number(bits));
  if (!(index >= 0 && index < slices)) throw new MeshError('invalid', `the VPC ${vpcCidr} has room for ${Math.max(0, Math.floor(slices))} sites, site ${index + 1} does not fit`, { fields: { path: 'spec.cidr' }, next: 'use a shorter prefix, such as /16' });
  const base = address.split('.').reduce((n, part) => n * 256 + Number(part), 0) + index * 256;
  return `${[24, 16, 8, 0].map((shift) => Math.floor(base / 2 ** shift) % 256).join('.')}/24`;
}

export function vpcObject(tenant: string, vpc: Vpc, vni: number): Vpc {
  return { apiVersion: 'mizar.com/v1', kind: 'Vpc', metadata: { name: vpc.metadata.name, tenant }, spec: { cidr: vpc.spec.cidr, vni, ...(vpc.spec.dividers === undefined ? {} : { dividers: vpc.spec.dividers }) } };
}

export function subnetObject(tenant: string, vpc: Vpc, site: string, index: number, isVirtual: boolean): Subnet {
  return { apiVersion: 'mizar.com/v1', kind: 'Subnet', metadata: { name: subnetName(vpc.metadata.name, site), tenant }, spec: { vpc: vpc.metadata.name, cidr: siteSlice(vpc.spec.cidr, index), site, ...(isVirtual ? { virtual: true } : {}) } };
}

/** Said on the template when a deployment is made, and never changed after: another template would replace its pods. */
export interface DeploymentTraits {
  readonly epoch?: number;
  readonly fenceAfterSeconds?: number | null;
  readonly restoreFrom?: string;
}

export const epochOf = (annotations: Readonly<Record<string, string>> | undefined): number => Number(annotations?.[EPOCH_ANNOTATION] ?? 0);

/** null = the pod is never stopped for want of a word. */
export function fenceAfterOf(annotations: Readonly<Record<string, string>> | undefined): number | null {
  const text = annotations?.[FENCE_AFTER_ANNOTATION];
  return text === undefined || text === '' || !Number.isFinite(Number(text)) ? null : Number(text);
}

function annotationsOf({ epoch = 0, fenceAfterSeconds = null, restoreFrom }: DeploymentTraits): Readonly<Record<string, string>> {
  return {
    ...(epoch > 0 ? { [EPOCH_ANNOTATION]: String(epoch) } : {}),
    ...(fenceAfterSeconds === null ? {} : { [FENCE_AFTER_ANNOTATION]: String(fenceAfterSeconds) }),
    ...(restoreFrom === undefined ? {} : { [RESTORE_ANNOTATION]: restoreFrom }),
  };
}

export function deploymentObject(app: Application, site: string, replicas: number, traits: DeploymentTraits = {}): Deployment {
  const labels = { [APPLICATION_LABEL]: app.metadata.name, [SITE_LABEL]: site };
  const { tenant, namespace } = placeOf(keyOf(app));
  const { template, vpc } = app.spec;
  const annotations = { ...template.metadata?.annotations, ...annotationsOf(traits) };
  const { generation } = app.metadata;
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: deploymentName(app.metadata.name, site), tenant, namespace, labels, ...(generation === undefined ? {} : { annotations: { [GENERATION_ANNOTATION]: String(generation) } }) },
    spec: {
      replicas,
      selector: { matchLabels: labels },
      template: {
        metadata: { ...template.metadata, labels: { ...template.metadata?.labels, ...labels }, ...(Object.keys(annotations).length === 0 ? {} : { annotations }) },
        spec: { ...template.spec, vpc, nodeSelector: { ...template.spec.nodeSelector, [SITE_LABEL]: site } },
      },
    },
  };
}

/** Was the Application changed since the deployment was written? */
export function isOutdated(deployment: Deployment, app: Application): boolean {
  const { generation } = app.metadata;
  return generation !== undefined && deployment.metadata.annotations?.[GENERATION_ANNOTATION] !== String(generation);
}

export function frontObject(app: Application, site: string, address: string, backends: readonly Backend[]): Endpoint {
  const place = placeOf(keyOf(app));
  const { port, protocol } = app.spec.service;
  return {
    apiVersion: 'mizar.com/v1',
    kind: 'Endpoint',
    metadata: { name: frontName(place, site), tenant: place.tenant, labels: { [APPLICATION_LABEL]: app.metadata.name, [SITE_LABEL]: site } },
    spec: { type: 'front', vpc: app.spec.vpc, site, address, port, protocol: protocol ?? 'TCP', application: keyOf(app), backends },
  };
}

/** A relay of another region, so that this region's network plane knows the way. */
export function foreignRelay(droplet: Droplet, region: string, siteKind: string): Droplet {
  return { apiVersion: droplet.apiVersion, kind: 'Droplet', metadata: { name: `${region}.${droplet.metadata.name}`, labels: { ...droplet.metadata.labels, [FOREIGN_LABEL]: 'true', [REGION_LABEL]: region, [SITE_KIND_LABEL]: siteKind } }, spec: droplet.spec };
}

export function clientRegionsObject(regions: readonly { readonly name: string; readonly cidrs: readonly string[] }[]): ConfigMap {
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'client-regions', tenant: 'system', namespace: 'default' }, data: Object.fromEntries(regions.map((r, i) => [`${i + 1}:${r.name}`, r.cidrs.join(',')])) };
}

/** Does `have` hold everything that `want` says? Servers add defaults; those are theirs. */
export function holds(have: unknown, want: unknown): boolean {
  if (Array.isArray(want)) return Array.isArray(have) && have.length === want.length && want.every((w, i) => holds(have[i], w));
  if (want !== null && typeof want === 'object') return have !== null && typeof have === 'object' && Object.entries(want).every(([k, v]) => v === undefined || holds((have as Record<string, unknown>)[k], v));
  return have === want;
}
