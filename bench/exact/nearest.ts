/** The plain baseline: application by application, most demand first, each client region to the nearest allowed site with room for one instance more. */
import { Capacity } from '../../scheduler/global/capacity.ts';
import { refusedByPolicy } from '../../scheduler/global/eligible.ts';
import type { Model } from '../../scheduler/global/model.ts';
import { PACKED_LOAD, TARGET_LOAD, UNKNOWN_RTT_MS } from '../../scheduler/global/objective.ts';

interface Placed {
  readonly sites: { readonly site: string; readonly instances: number; readonly isHeld: boolean }[];
  readonly serves: { readonly clientRegion: string; readonly site: string; readonly rps: number; readonly rttMs: number }[];
}

export function nearestPlan(model: Model): ReadonlyMap<string, Placed> {
  const capacity = new Capacity(model);
  const used = new Float64Array(capacity.total.length);
  const S = model.sites.length;
  const total = (a: Model['applications'][number]): number => a.demand.reduce((sum, d) => sum + d.rps, 0);
  const out = new Map<string, Placed>();
  const order = Array.from({ length: model.clientRegions.length }, (_, r) => r).map((r) => {
    const way = (s: number): number => model.rtt[r * S + s] as number;
    const ms = (s: number): number => (Number.isNaN(way(s)) ? UNKNOWN_RTT_MS : way(s));
    return { ms, sites: Array.from({ length: S }, (_, s) => s).sort((a, b) => ms(a) - ms(b) || a - b) };
  });
  for (const app of model.applications.toSorted((a, b) => total(b) - total(a) || (a.key < b.key ? -1 : 1))) {
    const load = new Map<number, number>();
    const n = new Map<number, number>();
    const serves: Placed['serves'] = [];
    let instances = 0;
    for (const d of app.demand) {
      let rest = d.rps;
      for (const s of order[d.region]?.sites ?? []) {
        if (rest <= 1e-9) break;
        if (refusedByPolicy(app.policy, model.sites[s] as Model['sites'][number]) !== null) continue;
        const size = capacity.sizeOf(app, s);
        while (instances < app.policy.instances.max && (load.get(s) ?? 0) + rest > TARGET_LOAD * app.perInstance * (n.get(s) ?? 0) && capacity.fits(used, s, size) > 0) {
          capacity.take(used, s, size, 1);
          n.set(s, (n.get(s) ?? 0) + 1);
          instances += 1;
        }
        const taken = Math.min(rest, PACKED_LOAD * app.perInstance * (n.get(s) ?? 0) - (load.get(s) ?? 0));
        if (taken <= 1e-9) continue;
        load.set(s, (load.get(s) ?? 0) + taken);
        rest -= taken;
        serves.push({ clientRegion: model.clientRegions[d.region] ?? '', site: model.sites[s]?.name ?? '', rps: taken, rttMs: order[d.region]?.ms(s) ?? 0 });
      }
    }
    out.set(app.key, { sites: [...n].map(([s, instances]) => ({ site: model.sites[s]?.name ?? '', instances, isHeld: false })), serves });
  }
  return out;
}
