/**
 * Everything that the plane reads, as one View. Changes are gathered for a moment, the View is built anew once, and only then is anybody
 * told: a decision never runs on a View that lacks the change that asked for it.
 */
import type { Client, ListOptions, ResourceId } from '../../api/client.ts';
import { Informer } from '../../api/informer.ts';
import type { Lease, Node, Pod } from '../../api/kinds/core.ts';
import type { Site } from '../../api/kinds/mesh.ts';
import type { Bouncer, Divider, Droplet, Endpoint, Subnet, Vpc } from '../../api/kinds/mizar.ts';
import type { KubeObject } from '../../api/object.ts';
import { Resources } from '../../api/resources.ts';
import type { Clock } from '../../base/clock.ts';
import type { Service } from '../../base/lifecycle.ts';
import { ServiceGroup } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import { CLAIM_LABEL } from './claims.ts';
import type { ConfigMap } from './names.ts';
import { APPLICATION_IDS, CLIENT_REGIONS, parseApplicationIds, parseClientRegions } from './names.ts';
import { isRecord } from './records.ts';
import type { Change } from './triggers.ts';
import type { View } from './world.ts';
import { SYSTEM, viewOf } from './world.ts';

export interface ObservedOptions {
  readonly client: Client;
  readonly region: string;
  readonly log: Logger;
  readonly clock: Clock;
  /** Told about claims at once: a decision must not wait a moment to learn that an address is taken. */
  readonly onClaim: (before: Lease | null, after: Lease | null) => void;
  /** After the View was built anew. */
  readonly onChanges: (changes: readonly Change[], view: View) => void;
}

/** Changes of this long are seen together; a View that takes longer to build is built less often. */
const GATHER_MS = 5;
const BUILD_SHARE = 4;

export class Observed implements Service {
  readonly name = 'network-view';
  readonly #o: ObservedOptions;
  readonly #informers;
  readonly #group: ServiceGroup;
  readonly #abort = new AbortController();
  readonly #records = new Map<string, ConfigMap>();
  #changes: Change[] = [];
  #view: View | null = null;
  #isGathering = false;
  #buildMs = 0;

  constructor(options: ObservedOptions) {
    this.#o = options;
    const everywhere: ListOptions = { tenant: 'all' };
    const m = <T extends KubeObject>(resource: ResourceId, list: ListOptions): Informer<T> => {
      const informer = new Informer<T>({ client: options.client, resource, list, log: options.log, clock: options.clock, firstRetryMs: 50, maxRetryMs: 5_000 });
      informer.onChange((_, after, before) => this.#changed(resource.kind as Change['kind'], before, after));
      return informer;
    };
    this.#informers = {
      sites: m<Site>(Resources.Site, {}),
      nodes: m<Node>(Resources.Node, {}),
      droplets: m<Droplet>(Resources.Droplet, {}),
      vpcs: m<Vpc>(Resources.Vpc, everywhere),
      subnets: m<Subnet>(Resources.Subnet, everywhere),
      bouncers: m<Bouncer>(Resources.Bouncer, everywhere),
      dividers: m<Divider>(Resources.Divider, everywhere),
      endpoints: m<Endpoint>(Resources.Endpoint, everywhere),
      pods: m<Pod>(Resources.Pod, everywhere),
      leases: m<Lease>(Resources.Lease, { ...SYSTEM, labelSelector: CLAIM_LABEL }),
      configMaps: new Informer<ConfigMap>({ client: options.client, resource: Resources.ConfigMap, list: { ...SYSTEM, glance: isRecord }, log: options.log, clock: options.clock, firstRetryMs: 50, maxRetryMs: 5_000 }),
    };
    this.#informers.configMaps.onChange((_, after, before) => this.#configMap(before, after));
    this.#group = new ServiceGroup(this.name, Object.values(this.#informers));
  }

  get view(): View {
    this.#view ??= this.#build();
    return this.#view;
  }

  /** Those that are the plane's affair. */
  configMaps(): ReadonlyMap<string, ConfigMap> {
    return this.#records;
  }

  claimNames(): readonly string[] {
    return this.#informers.leases.list().map((l) => l.metadata.name);
  }

  /** Resolves once everything was read; nothing was reported until then. */
  async start(signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => this.#abort.abort(signal.reason), { once: true });
    this.#isGathering = true;
    await this.#group.start(signal);
    await Promise.all(Object.values(this.#informers).map((i) => i.synced));
    this.#isGathering = false;
    this.#changes = [];
    this.#view = this.#build();
  }

  async stop(): Promise<void> {
    this.#abort.abort(new Error('network view stopped'));
    await this.#group.stop();
  }

  #configMap(before: ConfigMap | null, after: ConfigMap | null): void {
    const name = (after ?? before)?.metadata.name ?? '';
    if (!isRecord(name)) return;
    if (after === null) this.#records.delete(name);
    else this.#records.set(name, after);
    this.#changed('ConfigMap', before, after);
  }

  #changed(kind: Change['kind'], before: KubeObject | null, after: KubeObject | null): void {
    if (kind === 'Lease') this.#o.onClaim(before as Lease | null, after as Lease | null);
    this.#changes.push({ kind, before, after });
    if (this.#isGathering) return;
    this.#isGathering = true;
    this.#o.clock.sleep(Math.max(GATHER_MS, this.#buildMs * BUILD_SHARE), this.#abort.signal).then(
      () => this.#flush(),
      () => undefined, // stopped
    );
  }

  #flush(): void {
    this.#isGathering = false;
    const changes = this.#changes;
    this.#changes = [];
    this.#view = this.#build();
    this.#o.onChanges(changes, this.#view);
  }

  #build(): View {
    const started = performance.now();
    const m = this.#informers;
    const maps = this.configMaps();
    const view = viewOf({
      region: this.#o.region,
      sites: m.sites.list(),
      nodes: m.nodes.list(),
      pods: m.pods.list(),
      vpcs: m.vpcs.list(),
      subnets: m.subnets.list(),
      droplets: m.droplets.list(),
      bouncers: m.bouncers.list(),
      dividers: m.dividers.list(),
      endpoints: m.endpoints.list(),
      clientRegions: parseClientRegions(maps.get(CLIENT_REGIONS)).regions,
      applications: parseApplicationIds(maps.get(APPLICATION_IDS)),
    });
    this.#buildMs = performance.now() - started;
    return view;
  }
}
