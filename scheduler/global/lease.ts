/**
 * One scheduler acts, the others wait: a Lease object in the global API. The fencing token is the number of transitions; a holder that could
 * not renew in time stops acting by its own clock before anybody else may begin.
 */
import type { Client } from '../../api/client.ts';
import { isMeshError } from '../../api/errors.ts';
import type { Lease } from '../../api/kinds/core.ts';
import { Resources } from '../../api/resources.ts';

const PLACE = { tenant: 'system', namespace: 'default' } as const;

export class Leadership {
  readonly #client: Client;
  readonly #identity: string;
  readonly #seconds: number;
  #heldUntil = 0;
  #token = 0;

  constructor(client: Client, identity: string, seconds = 10) {
    this.#client = client;
    this.#identity = identity;
    this.#seconds = seconds;
  }

  get token(): number {
    return this.#token;
  }

  /** May this instance still write? Two thirds of the lease leave room for clocks that differ. */
  isHeld(now: number): boolean {
    return now < this.#heldUntil;
  }

  /** Takes or renews; false = somebody else holds it. */
  async acquire(now: number): Promise<boolean> {
    try {
      const lease = await this.#client.get<Lease>(Resources.Lease, PLACE, 'global-scheduler');
      const { holderIdentity, renewTime, leaseTransitions = 0 } = lease.spec;
      const isOurs = holderIdentity === this.#identity;
      if (!isOurs && renewTime !== undefined && now - Date.parse(renewTime) < this.#seconds * 1000) return this.#lost();
      return this.#hold(await this.#client.update(Resources.Lease, { ...lease, spec: this.#spec(now, isOurs ? leaseTransitions : leaseTransitions + 1) }), now);
    } catch (error) {
      if (isMeshError(error, 'conflict') || isMeshError(error, 'already-exists')) return this.#lost();
      if (!isMeshError(error, 'not-found')) throw error;
      const fresh: Lease = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name: 'global-scheduler', ...PLACE }, spec: this.#spec(now, 1) };
      return this.#hold(await this.#client.create(Resources.Lease, fresh), now);
    }
  }

  /** So that the next one need not wait. A lease that is somebody else's by now is left alone. */
  async release(): Promise<void> {
    if (this.#heldUntil === 0) return;
    this.#heldUntil = 0;
    try {
      const lease = await this.#client.get<Lease>(Resources.Lease, PLACE, 'global-scheduler');
      if (lease.spec.holderIdentity !== this.#identity || (lease.spec.leaseTransitions ?? 0) !== this.#token) return;
      await this.#client.update(Resources.Lease, { ...lease, spec: { ...lease.spec, renewTime: new Date(0).toISOString() } });
    } catch (error) {
      if (!isMeshError(error, 'conflict') && !isMeshError(error, 'not-found')) throw error; // taken or removed meanwhile: not ours to release
    }
  }

  #spec(now: number, transitions: number): Lease['spec'] {
    return { holderIdentity: this.#identity, leaseDurationSeconds: this.#seconds, renewTime: new Date(now).toISOString(), leaseTransitions: transitions };
  }

  #hold(lease: Lease, now: number): true {
    this.#heldUntil = now + (this.#seconds * 1000 * 2) / 3;
    this.#token = lease.spec.leaseTransitions ?? 0;
    return true;
  }

  #lost(): false {
    this.#heldUntil = 0;
    return false;
  }
}
