/**
 * Which applications are planned: those whose policy, VPC or port is not there, cannot be right or is somebody else's wait, with the reason;
 * what runs already is planned on. An application is looked at again when it or its policy was changed, or when sites came or went.
 */
import type { Application, PolicySpec } from '../../api/kinds/mesh.ts';
import type { SiteModel } from './model.ts';
import { checkPolicy } from './policy.ts';
import { type PortRefusal, portRefusals } from './ports.ts';
import { type GlobalObjects, isSameApplication, policyOf } from './world.ts';

interface Looked {
  readonly app: Application;
  readonly policy: PolicySpec | null;
  readonly places: number;
  readonly message: string | null;
}

export interface Admitted {
  readonly refused: ReadonlyMap<string, PortRefusal>;
  /** Application keys that have no right to the port they ask for. */
  readonly portless: ReadonlySet<string>;
  /** Everything that is not refused, or runs already. */
  readonly planned: ReadonlyMap<string, Application>;
}

/** When sites came or went, what was admitted by the sites of before is looked at again, this much of it in one pass. */
const CHECKS_PER_PASS = 200;

export class Admission {
  readonly #clientRegions: readonly string[];
  readonly #floor: (clientRegion: string, site: string) => number | null;
  readonly #looked = new Map<string, Looked>();
  #places = 0;
  #shape = '';
  /** By client region: ms to each site that light needs; NaN = not known. */
  #floors = new Map<string, Float32Array>();
  #siteIndex: ReadonlyMap<string, number> = new Map();
  #sites: readonly SiteModel[] = [];
  /** Many applications have the same policy: what was found of each, by its text. */
  #found = new Map<string, string | null>();
  #isBehind = false;

  constructor(clientRegions: readonly string[], floor: (clientRegion: string, site: string) => number | null) {
    this.#clientRegions = clientRegions;
    this.#floor = floor;
  }

  /** Some were looked at with the sites of before: ask again in the next pass. */
  get isBehind(): boolean {
    return this.#isBehind;
  }

  /** Are the sites, as far as policies speak of them, others than at the last call? */
  isOther(sites: readonly SiteModel[]): boolean {
    return this.#shapeOf(sites) !== this.#shape;
  }

  admit(objects: GlobalObjects, sites: readonly SiteModel[]): Admitted {
    this.#see(sites);
    const ports = portRefusals(objects.applications.values());
    const refused = new Map<string, PortRefusal>();
    const planned = new Map<string, Application>();
    let left = CHECKS_PER_PASS;
    this.#isBehind = false;
    for (const [key, app] of objects.applications) {
      const policy = policyOf(app, objects);
      const known = this.#looked.get(key);
      const isKnown = known !== undefined && isSameApplication(known.app, app) && (app.spec.policy !== undefined || known.policy === policy);
      const mayWait = isKnown && known.places !== this.#places && left <= 0;
      this.#isBehind ||= mayWait;
      if (!mayWait && !(isKnown && known.places === this.#places)) {
        left -= 1;
        this.#looked.set(key, { app, policy, places: this.#places, message: policy === null ? null : this.#check(policy, app.spec.policy === undefined ? 'policy' : 'spec.policy') });
      }
      const refusal = this.#missing(app, policy, objects) ?? this.#looked.get(key)?.message ?? null;
      const why = refusal === null ? ports.get(key) : ({ message: refusal, phase: 'Pending' } as const);
      if (why !== undefined) refused.set(key, why);
      if (why === undefined || (objects.placements.has(key) && policy !== null)) planned.set(key, app);
    }
    for (const key of this.#looked.keys()) if (!objects.applications.has(key)) this.#looked.delete(key);
    return { refused, portless: new Set(ports.keys()), planned };
  }

  #missing(app: Application, policy: PolicySpec | null, objects: GlobalObjects): string | null {
    const tenant = app.metadata.tenant ?? 'system';
    if (policy === null) return `spec.policyRef: no PlacementPolicy "${app.spec.policyRef ?? ''}" in ${tenant}/${app.metadata.namespace ?? 'default'}`;
    return objects.vpcs.has(`${tenant}/${app.spec.vpc}`) ? null : `spec.vpc: no VPC "${app.spec.vpc}" in tenant ${tenant}`;
  }

  #check(policy: PolicySpec, root: string): string | null {
    const text = `${root} ${JSON.stringify(policy)}`;
    const known = this.#found.get(text);
    if (known !== undefined) return known;
    const issues = checkPolicy(policy, { sites: this.#sites, clientRegions: this.#clientRegions }, (r, s) => this.#floorOf(r, s), root);
    const message = issues.length === 0 ? null : issues.map((i) => `${i.path}: ${i.message}`).join('; ');
    this.#found.set(text, message);
    return message;
  }

  #see(sites: readonly SiteModel[]): void {
    const shape = this.#shapeOf(sites);
    if (shape === this.#shape) return;
    this.#shape = shape;
    this.#places += 1;
    this.#sites = sites;
    this.#siteIndex = new Map(sites.map((site, i) => [site.name, i]));
    this.#floors = new Map();
    this.#found = new Map();
  }

  #shapeOf(sites: readonly SiteModel[]): string {
    return sites.map((s) => `${s.name} ${s.region} ${s.kind} ${s.trust} ${JSON.stringify(s.labels)}`).join('\n');
  }

  #floorOf(clientRegion: string, site: string): number | null {
    let row = this.#floors.get(clientRegion);
    if (row === undefined) {
      row = Float32Array.from(this.#sites, (s) => this.#floor(clientRegion, s.name) ?? Number.NaN);
      this.#floors.set(clientRegion, row);
    }
    const ms = row[this.#siteIndex.get(site) ?? -1];
    return ms === undefined || Number.isNaN(ms) ? null : ms;
  }
}
