/** Would one instance more at a site pay, by the weights of the policy? Told from docs/placement.md, one instance and what it would serve at a time. */
import { fits, placeIn } from './rules.ts';
import { type Facts, siteOf } from './reason-facts.ts';

/** Ms that a site is worth by preference, and by the applications that it wants to share with. */
export function liking(f: Facts, name: string): number {
  const site = siteOf(f, name);
  const preferred = (f.app.policy.sites?.preferred ?? []).filter((p) => fits(p, site)).reduce((sum, p) => sum + p.weight / 10, 0);
  return preferred + ((f.app.policy.affinity ?? []).some((n) => f.j.isAt(`acme/default/${n}`, name)) ? 20 : 0);
}

/** Points of one request of a client region at a site, as if all demand were like it. */
function points(f: Facts, client: string, site: string): number {
  const raw = f.j.rtt(client, site);
  const ms = Number.isNaN(raw) ? 500 : raw;
  const goals = new Map((f.app.policy.latency ?? []).filter((g) => (g.clientRegion ?? client) === client).map((g) => [`${g.milliseconds} ${g.percentile}`, g.milliseconds]));
  const rps = f.app.demand.find((d) => f.j.model.clientRegions[d.region] === client)?.rps ?? 0;
  const filled = Math.max(1, rps / (0.7 * f.app.perInstance));
  const share = rps / f.app.demand.reduce((sum, d) => sum + d.rps, 0);
  const weight = rps > 0 ? Math.max(50, Math.min(2_000, (10 * filled) / share)) : 50;
  const late = [...goals.values()].reduce((sum, goal) => sum + (ms > goal ? (weight * ms) / goal : 0), 0);
  return (f.app.policy.cost?.weights?.latency ?? 1) * ms - liking(f, site) + late;
}

/** The gain of what one instance may take over, against the instance's own cost, once more where it is a new place, and 20 % of the mean latency. */
export function isWorth(f: Facts, name: string): boolean {
  const all = f.app.demand.reduce((sum, d) => sum + d.rps, 0);
  const { latency = 1, money = 1, carbon = 0 } = f.app.policy.cost?.weights ?? {};
  const gains = f.planned.serves.map((s) => ({ rps: s.rps, gain: points(f, s.clientRegion, s.site) - points(f, s.clientRegion, name) })).filter((g) => g.gain > 0).sort((a, b) => b.gain - a.gain);
  let [left, gained] = [0.7 * f.app.perInstance, 0];
  for (const g of gains) {
    const taken = Math.min(left, g.rps);
    gained += (taken / all) * g.gain;
    left -= taken;
  }
  const site = siteOf(f, name);
  const isNew = !f.planned.sites.some((s) => s.site === name && !s.isHeld);
  const ran = (f.j.current.get(f.app.key) ?? []).length > 0 || placeIn(f.app.policy, site) === '';
  const mean = f.planned.serves.reduce((sum, s) => sum + s.rps * s.rttMs, 0) / all;
  const price = money * site.cost + carbon * site.carbon;
  return gained > price + (isNew && ran ? money * site.cost + 0.2 * latency * mean : 0) + 0.01;
}
