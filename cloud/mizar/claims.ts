/**
 * Claims: who owns a VNI, and who owns an address of a VPC. A claim is a Lease object whose name is the thing claimed, so the store lets
 * exactly one writer have it, whatever number of planes run and whenever one is killed. The holder names the pod or VPC with its uid; a
 * claim whose holder is gone is swept, so none leaks, and one whose holder lives is found again, so none is taken twice.
 */
import type { Client } from '../../api/client.ts';
import { isMeshError } from '../../api/errors.ts';
import type { Lease } from '../../api/kinds/core.ts';
import { Resources } from '../../api/resources.ts';
import { SYSTEM } from './world.ts';

export const CLAIM_LABEL = 'mesh.proxima.io/claim';

export interface Holder {
  readonly kind: 'pod' | 'vpc';
  readonly tenant: string;
  /** Empty for a VPC. */
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

export const vniClaim = (vni: number): string => `vni-${vni}`;
export const addressClaim = (vni: number, address: string): string => `ip-${vni}-${address}`;

export function formatHolder(h: Holder): string {
  return [h.kind, h.tenant, h.namespace, h.name, h.uid].join('/');
}

export function parseHolder(text: string | undefined): Holder | null {
  const [kind, tenant, namespace, name, uid, ...rest] = (text ?? '').split('/');
  if ((kind !== 'pod' && kind !== 'vpc') || tenant === undefined || namespace === undefined || name === undefined || uid === undefined || rest.length > 0) return null;
  return { kind, tenant, namespace, name, uid };
}

/** Reading side, for decisions. */
export interface ClaimTable {
  holderOf(name: string): string | null;
  /** What `holder` has. */
  heldBy(holder: string): readonly string[];
}

export class Claims implements ClaimTable {
  readonly #client: Client;
  readonly #holders = new Map<string, string>();
  readonly #held = new Map<string, Set<string>>();

  constructor(client: Client) {
    this.#client = client;
  }

  holderOf(name: string): string | null {
    return this.#holders.get(name) ?? null;
  }

  heldBy(holder: string): readonly string[] {
    return [...(this.#held.get(holder) ?? [])].sort();
  }

  /** From the informer: what the API has. */
  seen(lease: Lease): void {
    this.#set(lease.metadata.name, lease.spec.holderIdentity ?? '');
  }

  gone(name: string): void {
    const holder = this.#holders.get(name);
    this.#holders.delete(name);
    if (holder === undefined) return;
    const names = this.#held.get(holder);
    names?.delete(name);
    if (names?.size === 0) this.#held.delete(holder);
  }

  /** Resolves to who has it now: `holder`, or whoever was first. */
  async take(name: string, holder: string): Promise<string> {
    try {
      await this.#client.create<Lease>(Resources.Lease, leaseFor(name, holder));
      this.#set(name, holder);
      return holder;
    } catch (error) {
      if (!isMeshError(error, 'already-exists')) throw error;
    }
    const lease = await this.#client.get<Lease>(Resources.Lease, SYSTEM, name);
    this.seen(lease);
    return lease.spec.holderIdentity ?? '';
  }

  #set(name: string, holder: string): void {
    if (this.#holders.get(name) !== holder) this.gone(name);
    this.#holders.set(name, holder);
    const names = this.#held.get(holder);
    if (names === undefined) this.#held.set(holder, new Set([name]));
    else names.add(name);
  }
}

function leaseFor(name: string, holder: string): Lease {
  const kind = name.startsWith('vni-') ? 'vni' : 'address';
  return {
    apiVersion: 'coordination.k8s.io/v1',
    kind: 'Lease',
    metadata: { name, tenant: SYSTEM.tenant, namespace: SYSTEM.namespace, labels: { [CLAIM_LABEL]: kind } },
    spec: { holderIdentity: holder },
  };
}
