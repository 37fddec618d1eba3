/** The model's sites from pass to pass: who says the same as before is the same object, so that a thousand sites are compared by one look at each. */
import type { Site } from '../../api/kinds/mesh.ts';
import type { CapacitySample } from '../../api/telemetry.ts';
import type { SiteState } from './failure.ts';
import type { SiteModel } from './model.ts';
import type { Telemetry } from './telemetry.ts';
import { siteModel } from './world.ts';

interface Made {
  readonly site: Site;
  readonly state: SiteState;
  readonly capacity: CapacitySample | null;
  readonly model: SiteModel;
}

export class SiteModels {
  readonly #telemetry: Telemetry;
  #made: ReadonlyMap<string, Made> = new Map();
  #fronts: readonly string[] = [];

  constructor(telemetry: Telemetry) {
    this.#telemetry = telemetry;
  }

  /** In the order of `sites`; each has a state. */
  of(sites: readonly Site[], states: ReadonlyMap<string, SiteState>): readonly SiteModel[] {
    const made = new Map<string, Made>();
    for (const site of sites) {
      const { name } = site.metadata;
      made.set(name, this.#one(site, states.get(name) as SiteState, this.#made.get(name)));
    }
    this.#made = made;
    return [...made.values()].map((m) => m.model);
  }

  /** Names of the sites with a front: the same array while it says the same, as telemetry keeps what it worked out of it. */
  frontsOf(models: readonly SiteModel[]): readonly string[] {
    const names = models.filter((s) => s.front !== null).map((s) => s.name);
    if (names.length !== this.#fronts.length || names.some((n, i) => n !== this.#fronts[i])) this.#fronts = names;
    return this.#fronts;
  }

  #one(site: Site, state: SiteState, before: Made | undefined): Made {
    const capacity = this.#telemetry.capacityOf(site.metadata.name);
    if (before !== undefined && before.site === site && before.state === state && before.capacity === capacity) return before;
    const model = siteModel(site, state, this.#telemetry);
    const isSame = before !== undefined && JSON.stringify(before.model) === JSON.stringify(model);
    return { site, state, capacity, model: isSame ? before.model : model };
  }
}
