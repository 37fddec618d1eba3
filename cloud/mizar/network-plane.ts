/**
 * The network plane of a region: operators over its API, and the goal state of every droplet over gRPC.
 *
 *   objects -> informers -> View -> operators (VNIs, addresses, bouncers, dividers, records) -> objects
 *                              -> goalFor(droplet) -> feed -> transit daemons -> answers -> statuses
 */
import type { Client } from '../../api/client.ts';
import type { Clock } from '../../base/clock.ts';
import { systemClock } from '../../base/clock.ts';
import type { Service } from '../../base/lifecycle.ts';
import { ServiceGroup } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import { REVOCATIONS_NAME, serialsOf } from '../../certs/revocation.ts';
import { Claims } from './claims.ts';
import { holderOf } from './endpoints.ts';
import { goalFor, goalMap } from './goal.ts';
import { GoalFeed } from './goal-feed.ts';
import type { Caller, GoalServerOptions } from './goal-server.ts';
import { GoalServer } from './goal-server.ts';
import { CLIENT_REGIONS, parseClientRegions } from './names.ts';
import { Observed } from './observed.ts';
import { Operators } from './operators.ts';
import { versionSource } from './records.ts';
import type { Change } from './triggers.ts';
import { triggersOf } from './triggers.ts';
import type { View } from './world.ts';

export interface NetworkPlaneOptions {
  /** Of the region's API, with the right to everything in every tenant. */
  readonly client: Client;
  readonly region: string;
  /** null = no goal state server: operators only. */
  readonly grpc: Pick<GoalServerOptions, 'host' | 'port' | 'tls'> | null;
  readonly log: Logger;
  readonly clock?: Clock;
}

export interface NetworkPlane extends Service {
  /** Where the goal state server listens; 0 before start or without one. */
  readonly grpcPort: number;
  /** A new certificate for the goal state server. */
  renew(tls: GoalServerOptions['tls']): void;
}

export function createNetworkPlane(options: NetworkPlaneOptions): NetworkPlane {
  return new Plane(options);
}

class Plane implements NetworkPlane {
  readonly name = 'network-plane';
  readonly #log: Logger;
  readonly #client: Client;
  readonly #claims: Claims;
  readonly #observed: Observed;
  readonly #operators: Operators;
  readonly #feed: GoalFeed;
  readonly #server: GoalServer | null;
  readonly #group: ServiceGroup;
  #nextVersion: () => number = () => 0;

  constructor(options: NetworkPlaneOptions) {
    const clock = options.clock ?? systemClock;
    const log = options.log.child({ part: 'network' });
    this.#log = log;
    this.#client = options.client;
    this.#claims = new Claims(options.client);
    this.#feed = new GoalFeed({ clock, nextVersion: () => this.#nextVersion(), onAnswer: (droplet, answer) => this.#operators.answered(droplet, answer) });
    this.#observed = new Observed({
      client: options.client,
      region: options.region,
      log,
      clock,
      onClaim: (before, after) => (after === null ? this.#claims.gone(before?.metadata.name ?? '') : this.#claims.seen(after)),
      onChanges: (changes, view) => this.#changed(changes, view),
    });
    this.#operators = new Operators({
      client: options.client,
      claims: this.#claims,
      view: () => this.#observed.view,
      records: () => this.#observed.configMaps(),
      claimNames: () => this.#observed.claimNames(),
      acked: (droplet) => this.#feed.acked(droplet),
      log,
      clock,
    });
    this.#server = options.grpc === null ? null : new GoalServer({ ...options.grpc, feed: this.#feed, log, refuse: (droplet, caller) => this.#refuse(droplet, caller), onFollow: (droplet) => this.#want(droplet, this.#observed.view) });
    // A droplet may ask only when everything is known: a goal state computed from half a region would take the rest away.
    this.#group = new ServiceGroup(this.name, [this.#observed, this.#operators, ...(this.#server === null ? [] : [this.#server])]);
  }

  get grpcPort(): number {
    return this.#server?.port ?? 0;
  }

  renew(tls: GoalServerOptions['tls']): void {
    this.#server?.renew(tls);
  }

  async start(signal: AbortSignal): Promise<void> {
    this.#nextVersion = await versionSource(this.#client);
    await this.#group.start(signal);
  }

  async stop(): Promise<void> {
    this.#feed.close();
    await this.#group.stop();
  }

  #changed(changes: readonly Change[], view: View): void {
    for (const change of changes) {
      for (const t of triggersOf(change, view, (pod) => this.#claims.heldBy(holderOf(pod)))) this.#operators.trigger(t);
      if (change.kind === 'Droplet' && change.after === null && change.before !== null) this.#feed.forget(change.before.metadata.name);
      if (change.kind === 'ConfigMap' && change.after?.metadata.name === CLIENT_REGIONS) {
        for (const problem of parseClientRegions(change.after).problems) this.#log.warn('client region left out', { configMap: CLIENT_REGIONS, problem });
      }
    }
    for (const droplet of this.#feed.connected) this.#want(droplet, view);
  }

  #want(name: string, view: View): void {
    const droplet = view.droplets.get(name);
    if (droplet !== undefined) this.#feed.want(name, goalMap(goalFor(droplet, view)));
  }

  #refuse(name: string, caller: Caller): string | null {
    const revoked = this.#observed.configMaps().get(REVOCATIONS_NAME);
    if (revoked !== undefined && serialsOf(revoked).has(caller.serial.toUpperCase())) return `certificate ${caller.serial} is revoked`;
    const site = this.#observed.view.droplets.get(name)?.spec.site;
    return site !== undefined && caller.site !== null && caller.site !== site ? `node ${caller.node} of site ${caller.site} may not follow a droplet of site ${site}` : null;
  }
}
