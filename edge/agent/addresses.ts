/**
 * Where each pod of this node is in its VPC. The network plane makes an Endpoint per pod; with the VPC's VNI and the subnet's range it
 * becomes the pod's address, which is then kept with the pod on disk.
 */
import type { Client, ResourceId } from '../../api/client.ts';
import { Informer } from '../../api/informer.ts';
import type { Endpoint, Subnet, Vpc } from '../../api/kinds/mizar.ts';
import type { KubeObject } from '../../api/object.ts';
import { Resources } from '../../api/resources.ts';
import type { Service } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import type { PodAddress } from './model.ts';

export interface AddressesOptions {
  readonly node: string;
  readonly mtu: number;
  readonly client: Client;
  readonly log: Logger;
  readonly onAddress: (podUid: string, address: PodAddress, provisioned: boolean) => void;
}

const keyOf = (o: KubeObject, name: string): string => `${o.metadata.tenant ?? 'system'}/${name}`;

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
  readonly #vpcs: Informer<Vpc>;
  readonly #subnets: Informer<Subnet>;
  readonly #endpoints: Informer<Endpoint>;

  constructor(options: AddressesOptions) {
    this.#o = options;
    const { client, log } = options;
    const follow = <T extends KubeObject>(resource: ResourceId): Informer<T> => {
      const informer = new Informer<T>({ client, log, resource, list: { tenant: 'all' }, maxRetryMs: 3000 });
      informer.onChange((_, object) => {
        if (object !== null) this.#look();
      });
      return informer;
    };
    this.#vpcs = follow(Resources.Vpc);
    this.#subnets = follow(Resources.Subnet);
    this.#endpoints = follow(Resources.Endpoint);
  }

  async start(signal: AbortSignal): Promise<void> {
    for (const i of [this.#vpcs, this.#subnets, this.#endpoints]) await i.start(signal);
  }

  async stop(): Promise<void> {
    for (const i of [this.#vpcs, this.#subnets, this.#endpoints]) await i.stop();
  }

  /** Looks again, for a pod that was not known when its endpoint came. */
  look(podUid: string): void {
    for (const e of this.#endpoints.list()) if (e.spec.type === 'simple' && e.spec.pod.uid === podUid) this.#tell(e);
  }

  #look(): void {
    for (const e of this.#endpoints.list()) this.#tell(e);
  }

  #tell(e: Endpoint): void {
    if (e.spec.type !== 'simple' || e.spec.droplet !== this.#o.node) return;
    const address = addressFrom(e, this.#vpcs.get(keyOf(e, e.spec.vpc)) ?? undefined, this.#subnets.get(keyOf(e, e.spec.subnet)) ?? undefined, this.#o.mtu);
    if (address !== null) this.#o.onAddress(e.spec.pod.uid, address, e.status?.phase === 'Provisioned');
  }
}
