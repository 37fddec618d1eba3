/** Gives back what nobody needs: a claim whose pod or VPC is gone, or that lost against another claim of the same holder. */
import type { Client } from '../../api/client.ts';
import { isMeshError } from '../../api/errors.ts';
import type { Lease, Pod } from '../../api/kinds/core.ts';
import type { Vpc } from '../../api/kinds/mizar.ts';
import type { KubeObject } from '../../api/object.ts';
import { Resources } from '../../api/resources.ts';
import type { Claims, Holder } from './claims.ts';
import { addressClaim, parseHolder, vniClaim } from './claims.ts';
import { isTerminal } from './steps.ts';
import type { View } from './world.ts';
import { SYSTEM, vniOf, vpcKeyOf } from './world.ts';

/** A pass that took a claim may not have written its Endpoint yet when the pod goes; after this long it has, or it is dead. */
const MIN_AGE_MS = 5_000;
const RECHECK_MS = 250;

/** One pass over one claim. Resolves to the milliseconds after which to look again; 0 = when something changes. */
export async function sweepClaim(client: Client, claims: Claims, view: View, name: string, now: number): Promise<number> {
  const holder = parseHolder(claims.holderOf(name) ?? undefined);
  if (holder === null) return 0;
  const need = holder.kind === 'vpc' ? vpcNeeds(holder, name, view) : podNeeds(holder, name, view);
  if (need === 'yes') return 0;
  if (need === 'soon') return RECHECK_MS;
  const lease = await find<Lease>(client.get(Resources.Lease, SYSTEM, name));
  if (lease === null) {
    claims.gone(name);
    return 0;
  }
  if (lease.spec.holderIdentity !== claims.holderOf(name)) {
    claims.seen(lease);
    return RECHECK_MS;
  }
  const age = now - Date.parse(lease.metadata.creationTimestamp ?? '');
  if (age < MIN_AGE_MS) return MIN_AGE_MS - age;
  // The caches may be behind the store: the holder has to be gone there too.
  if (need === 'gone' && (await isAlive(client, holder))) return RECHECK_MS;
  await find(client.delete(Resources.Lease, SYSTEM, name, lease.metadata.uid === undefined ? {} : { uid: lease.metadata.uid }));
  claims.gone(name);
  return 0;
}

type Need = 'yes' | 'soon' | 'spare' | 'gone';

function vpcNeeds(holder: Holder, name: string, view: View): Need {
  const vpc = view.vpcs.get(`${holder.tenant}/${holder.name}`);
  if (vpc?.metadata.uid !== holder.uid) return 'gone';
  const vni = vniOf(vpc);
  return vni === null || name === vniClaim(vni) || (vpc.spec.vni !== undefined && name === vniClaim(vpc.spec.vni)) ? 'yes' : 'spare';
}

function podNeeds(holder: Holder, name: string, view: View): Need {
  const key = `${holder.tenant}/${holder.namespace}.${holder.name}`;
  const endpoint = view.endpoints.get(key);
  const pod = view.pods.get(key);
  const isHere = pod?.metadata.uid === holder.uid && !isTerminal(pod);
  if (endpoint?.spec.type !== 'simple' || endpoint.spec.pod.uid !== holder.uid) return isHere ? 'yes' : 'gone';
  const vni = vniOf(view.vpcs.get(vpcKeyOf(endpoint)));
  if (vni === null || name === addressClaim(vni, endpoint.spec.address)) return isHere ? 'yes' : 'soon';
  return 'spare';
}

async function isAlive(client: Client, holder: Holder): Promise<boolean> {
  const found =
    holder.kind === 'vpc'
      ? await find<Vpc>(client.get(Resources.Vpc, { tenant: holder.tenant, namespace: null }, holder.name))
      : await find<Pod>(client.get(Resources.Pod, { tenant: holder.tenant, namespace: holder.namespace }, holder.name));
  return found !== null && found.metadata.uid === holder.uid && !isTerminal(found as Pod);
}

async function find<T extends KubeObject>(work: Promise<T | void>): Promise<T | null> {
  try {
    return (await work) ?? null;
  } catch (error) {
    if (isMeshError(error, 'not-found')) return null;
    throw error;
  }
}
