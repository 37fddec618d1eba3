/**
 * Where each pod of this node is in its VPC. The network plane makes an Endpoint per pod; with the VPC's VNI and the subnet's range it
 * becomes the pod's address, which is then kept with the pod on disk.
 */
import type { Client } from '../../api/client.ts';
import type { Endpoint, Subnet, Vpc } from '../../api/kinds/mizar.ts';
import type { KubeObject } from '../../api/object.ts';
import { Resources } from '../../api/resources.ts';
import type { Service } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import { Follow } from './follow.ts';
import type { PodAddress } from './model.ts';

export interface AddressesOptions {
  readonly node: string;
  readonly mtu: number;
  readonly client: Client;
  readonly log: Logger;
  readonly onAddress: (podUid: string, address: PodAddress, provisioned: boolean) => void;
}

const keyOf = (o: KubeObject, name = o.metadata.name): string => `${o.metadata.tenant ?? 'system'}/${name}`;

/** null while the VPC has no VNI, the subnet is not known, or the endpoint is no pod's. */
export function addressFrom(endpoint: Endpoint, vpc: Vpc | undefined, subnet: Subnet | undefined, mtu: number): PodAddress | null {
  const vni = vpc?.status?.vni ?? vpc?.spec.vni;
  if (endpoint.spec.type !== 'simple' || vni === undefined || subnet === undefined) return null;
  const [base = '', bits = ''] = subnet.spec.cidr.split('/');
  const octets = base.split('.').map(Number);
  const first = octets.reduce((n, o) => n * 256 + o, 0) + 1; // the subnet's first address is its gateway
  const gateway = [24, 16, 8, 0].map((s) => Math.floor(first / 2 ** s) % 256).join('.');
  return { vni, address: endpoint.spec.address, prefix: Number(bits), gateway, mac: endpoint.spec.mac, mtu };
}

export class Addresses implements Service {
  readonly name = 'addresses';
  readonly #o: AddressesOptions;
  readonly #vpcs = new Map<string, Vpc>();
  readonly #subnets = new Map<string, Subnet>();
  readonly #endpoints = new Map<string, Endpoint>();
  readonly #follows: readonly Service[];

  constructor(options: AddressesOptions) {
    this.#o = options;
    const { client, log } = options;
    const follow = <T extends KubeObject>(resource: (typeof Resources)[keyof typeof Resources], into: Map<string, T>): Service => {
      const put = (o: T): void => void into.set(keyOf(o), o);
      return new Follow<T>({
        client, log, resource, select: { tenant: 'all' },
        onList: (items) => {
          into.clear();
          items.forEach(put);
          this.#look();
        },
        onChange: (o) => {
          put(o);
          this.#look();
        },
        onDelete: (o) => void into.delete(keyOf(o)),
      });
    };
    this.#follows = [follow(Resources.Vpc, this.#vpcs), follow(Resources.Subnet, this.#subnets), follow(Resources.Endpoint, this.#endpoints)];
  }

  async start(signal: AbortSignal): Promise<void> {
    for (const f of this.#follows) await f.start(signal);
  }

  async stop(): Promise<void> {
    for (const f of this.#follows) await f.stop();
  }

  /** Looks again, for a pod that was not known when its endpoint came. */
  look(podUid: string): void {
    for (const e of this.#endpoints.values()) if (e.spec.type === 'simple' && e.spec.pod.uid === podUid) this.#tell(e);
  }

  #look(): void {
    for (const e of this.#endpoints.values()) this.#tell(e);
  }

  #tell(e: Endpoint): void {
    if (e.spec.type !== 'simple' || e.spec.droplet !== this.#o.node) return;
    const address = addressFrom(e, this.#vpcs.get(keyOf(e, e.spec.vpc)), this.#subnets.get(keyOf(e, e.spec.subnet)), this.#o.mtu);
    if (address !== null) this.#o.onAddress(e.spec.pod.uid, address, e.status?.phase === 'Provisioned');
  }
}
