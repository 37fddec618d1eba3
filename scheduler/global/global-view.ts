/** What the global API holds, in memory, and what of it was changed since somebody asked last. */
import type { Client } from '../../api/client.ts';
import type { Application, Placement, PlacementPolicy, PolicySpec, Site } from '../../api/kinds/mesh.ts';
import type { Vpc } from '../../api/kinds/mizar.ts';
import type { KubeObject } from '../../api/object.ts';
import { Resources } from '../../api/resources.ts';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';
import { keyOf } from './region-objects.ts';
import { View } from './view.ts';
import type { GlobalObjects } from './world.ts';

const ALL = { tenant: 'all' } as const;
const WATCHED = [
  { resource: Resources.Application, list: ALL },
  { resource: Resources.PlacementPolicy, list: ALL },
  { resource: Resources.Placement, list: ALL },
  { resource: Resources.Vpc, list: ALL },
  { resource: Resources.Site, list: {} },
] as const;

export interface GlobalChanges {
  /** Keys of applications that are new, changed, gone, or whose Placement was changed by somebody else. */
  readonly applications: ReadonlySet<string>;
  /** An application came, went or was changed: who has which port may be another. */
  readonly isAdmissionOpen: boolean;
  /** VPCs, or which of them are used. */
  readonly isNetwork: boolean;
  readonly isSites: boolean;
}

export class GlobalView {
  readonly #view: View;
  readonly #onChange: () => void;
  readonly #applications = new Map<string, Application>();
  readonly #policies = new Map<string, PolicySpec>();
  readonly #placements = new Map<string, Placement>();
  readonly #vpcs = new Map<string, Vpc>();
  #changed = new Set<string>();
  #isAdmissionOpen = true;
  #isNetwork = true;
  #isSites = true;

  constructor(client: Client, onChange: () => void) {
    this.#onChange = onChange;
    this.#view = new View(client, WATCHED, { index: (r, o, before) => this.#index(r, o, before), tell: (r, o, before) => this.#tell(r, o, before) });
  }

  async start(signal: AbortSignal, log: Logger, clock: Clock): Promise<void> {
    await this.#view.follow(log, clock, signal);
  }

  async stop(): Promise<void> {
    await this.#view.unfollow();
  }

  /** Reads anew unless watches do. */
  async refresh(): Promise<void> {
    if (!this.#view.isFollowing) await this.#view.refresh();
  }

  /** Live maps: they change under who holds them. */
  get objects(): GlobalObjects {
    return { applications: this.#applications, policies: this.#policies, placements: this.#placements, vpcs: this.#vpcs };
  }

  /** As they are now. */
  copy(): GlobalObjects {
    return { applications: new Map(this.#applications), policies: new Map(this.#policies), placements: new Map(this.#placements), vpcs: new Map(this.#vpcs) };
  }

  sites(): readonly Site[] {
    return [...this.#view.all<Site>(Resources.Site).values()];
  }

  site(name: string): Site | null {
    return this.#view.find<Site>(Resources.Site, `||${name}`);
  }

  /** What a write of ours returned. */
  put(object: Placement | Application | Site | Vpc): void {
    const resource = { Placement: Resources.Placement, Application: Resources.Application, Site: Resources.Site, Vpc: Resources.Vpc }[object.kind as 'Placement'];
    this.#view.put(resource, object);
  }

  drop(object: Placement | Site): void {
    this.#view.drop(object.kind === 'Placement' ? Resources.Placement : Resources.Site, object);
  }

  take(): GlobalChanges {
    const taken = { applications: this.#changed, isAdmissionOpen: this.#isAdmissionOpen, isNetwork: this.#isNetwork, isSites: this.#isSites };
    this.#changed = new Set();
    this.#isAdmissionOpen = this.#isNetwork = this.#isSites = false;
    return taken;
  }

  /** What was taken was not dealt with. */
  giveBack(changes: GlobalChanges): void {
    for (const key of changes.applications) this.#changed.add(key);
    this.#isAdmissionOpen ||= changes.isAdmissionOpen;
    this.#isNetwork ||= changes.isNetwork;
    this.#isSites ||= changes.isSites;
  }

  #index(resource: unknown, object: KubeObject | null, previous: KubeObject | null): void {
    const keep = <V>(map: Map<string, V>, key: string, value: V | null): void => void (value === null ? map.delete(key) : map.set(key, value));
    const o = object ?? (previous as KubeObject);
    if (resource === Resources.Application) {
      const app = object as Application | null;
      keep(this.#applications, keyOf(o), app?.metadata.deletionTimestamp === undefined ? app : null);
    } else if (resource === Resources.PlacementPolicy) keep(this.#policies, keyOf(o), (object as PlacementPolicy | null)?.spec ?? null);
    else if (resource === Resources.Placement) keep(this.#placements, keyOf(o), object as Placement | null);
    else if (resource === Resources.Vpc) keep(this.#vpcs, `${o.metadata.tenant ?? 'system'}/${o.metadata.name}`, object as Vpc | null);
  }

  #tell(resource: unknown, object: KubeObject | null, previous: KubeObject | null): void {
    const o = object ?? (previous as KubeObject);
    // our own status comes back as a change of the version only
    const isSameSpec = object !== null && previous !== null && object.metadata.generation !== undefined && object.metadata.generation === previous.metadata.generation && object.metadata.deletionTimestamp === previous.metadata.deletionTimestamp;
    if (resource === Resources.Site) this.#isSites = true;
    else if (resource === Resources.Placement) this.#changed.add(keyOf(o));
    else if (isSameSpec) return;
    else if (resource === Resources.Vpc) this.#isNetwork = this.#isAdmissionOpen = true;
    else if (resource === Resources.Application) {
      this.#changed.add(keyOf(o));
      this.#isAdmissionOpen = this.#isNetwork = true;
    } else if (resource === Resources.PlacementPolicy) {
      this.#isAdmissionOpen = true;
      const { tenant = 'system', namespace = 'default', name } = o.metadata;
      for (const [key, app] of this.#applications) if (app.spec.policyRef === name && key.startsWith(`${tenant}/${namespace}/`)) this.#changed.add(key);
    }
    this.#onChange();
  }
}
