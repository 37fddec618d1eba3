/** A site that more is asked of than it has: those leave that lose least for the room that they give back. */
import type { Entry } from '../entry.ts';
import type { Joint } from './joint.ts';

/**
 * Until the site is not over-asked. `keep` stays in any case. Returns what the others lose in points; gives up when that is more than `limit`,
 * and then the site may still be over-asked. Who seems to lose least for its room is looked at first, and leaves if it is still so.
 */
export function makeRoom(joint: Joint, site: number, keep: Entry | null, limit = Number.POSITIVE_INFINITY): number {
  const { ledger } = joint;
  const worth = (e: Entry): number => guess(joint, e, site) / freed(joint, e, site);
  const line = [...(ledger.at[site] ?? [])].filter((e) => e !== keep).map((e) => ({ e, worth: worth(e) }));
  const order = (a: (typeof line)[number], b: (typeof line)[number]): number => b.worth - a.worth || (a.e.app.key < b.e.app.key ? 1 : -1);
  line.sort(order);
  let lost = 0;
  while (ledger.excess(site) > 0) {
    const first = line.pop();
    if (first === undefined) return Number.POSITIVE_INFINITY;
    const now = worth(first.e);
    const second = line.at(-1);
    if (second !== undefined && now > second.worth + 1e-9 && now > first.worth + 1e-9) {
      line.push({ e: first.e, worth: now });
      line.sort(order);
      continue;
    }
    const before = first.e.choice.score;
    lost += joint.place(first.e).score - before;
    if (lost > limit) return lost;
  }
  return lost;
}

/** Room that leaving gives back, as a share of what the site has too little of; never more than is needed. */
function freed(joint: Joint, e: Entry, site: number): number {
  const { capacity, used } = joint.ledger;
  const K = capacity.width;
  const c = e.small.sites.indexOf(site);
  const i = e.choice.open.indexOf(c);
  let share = 0;
  for (let k = 0; k < K; k++) {
    const over = (used[site * K + k] as number) - (capacity.total[site * K + k] as number);
    if (over <= 1e-6) continue;
    share += Math.min(1, ((e.choice.least[i] as number) * (e.small.problem.size[c * K + k] as number)) / over);
  }
  return Math.max(share, 1e-6);
}

/** What it would lose if its flows here went to the next best site that has any room: no instances are counted. */
function guess(joint: Joint, e: Entry, site: number): number {
  const { problem, sites } = e.small;
  const { capacity, used } = joint.ledger;
  const K = capacity.width;
  let points = 0;
  for (const f of e.choice.flows) {
    if (sites[f.c] !== site) continue;
    const row = f.r * problem.candidates;
    let next = Number.POSITIVE_INFINITY;
    for (let c = 0; c < sites.length; c++) {
      const u = (problem.unit[row + c] as number) + (e.choice.open.includes(c) ? 0 : (problem.points[c] as number));
      if (c === f.c || u >= next) continue;
      if (capacity.fits(used, sites[c] as number, problem.size, c * K) > 0) next = u;
    }
    points += (f.rps / problem.total) * ((next === Number.POSITIVE_INFINITY ? 1e6 : next) - (problem.unit[row + f.c] as number));
  }
  return points;
}
