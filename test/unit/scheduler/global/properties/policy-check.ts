/** Every way in which a plan may break its policies or the sites' capacity, found from the plan alone. Returns sentences; none = it holds. */
import type { ApplicationModel } from '../../../../../scheduler/global/model.ts';
import type { ApplicationPlan } from '../../../../../scheduler/global/planner.ts';
import { EPSILON, isAllowed, isAvoided, noMoves, placeIn, standOf, type Judge } from './rules.ts';

export function violations(j: Judge): string[] {
  const out = overCapacity(j);
  for (const app of j.model.applications) {
    const planned = j.planOf(app);
    for (const check of [places, limits, shares, missing, goals, moves, changes]) out.push(...check(j, app, planned).map((v) => `${app.key}: ${v}`));
  }
  return out;
}

function overCapacity(j: Judge): string[] {
  const out: string[] = [];
  for (const site of j.model.sites) {
    for (const k of j.dimensions) {
      const [all, held] = [j.taken(site.name, k), j.taken(site.name, k, (isHeld) => isHeld)];
      // what runs on at a site out of reach is not ours to stop
      if (all > Math.max(j.total(site, k), held) + EPSILON) out.push(`${site.name}: ${all} of ${j.total(site, k)} ${k} are taken`);
    }
  }
  return out;
}

/** Where it is: allowed, in reach, kept apart; what runs on at a lost site is as many as before. */
function places(j: Judge, app: ApplicationModel, planned: ApplicationPlan): string[] {
  const out: string[] = [];
  if (new Set(planned.sites.map((s) => s.site)).size < planned.sites.length) out.push('a site is there twice');
  for (const p of planned.sites) {
    const site = j.sites.get(p.site);
    const before = j.before(app, p.site);
    if (site === undefined) {
      out.push(`${p.site} is no site`);
      continue;
    }
    const stand = standOf(app.policy, site, j.now);
    if (!isAllowed(app.policy, site)) out.push(`${p.site} is not allowed`);
    if (!(Number.isInteger(p.instances) && p.instances > 0)) out.push(`${p.instances} instances at ${p.site}`);
    if (p.isHeld && (stand !== 'held' || p.instances !== before)) out.push(`${p.site} holds ${p.instances} of ${before}, and stands as ${stand}`);
    if (!p.isHeld && p.instances > j.most(app, site)) out.push(`${p.instances} at ${p.site}, which may have ${j.most(app, site)}: it stands as ${stand}`);
    if (!p.isHeld && isAvoided(app, p.site, j.now)) out.push(`${p.site} is to be avoided`);
    // two that both only run on at a lost site are not ours to part
    for (const key of j.enemies(app)) if (j.plan.applications.get(key)?.sites.some((s) => s.site === p.site && !(s.isHeld && p.isHeld)) === true) out.push(`shares ${p.site} with ${key}`);
  }
  for (const { site: name, instances } of j.current.get(app.key) ?? []) {
    const site = j.sites.get(name);
    if (site === undefined || !isAllowed(app.policy, site) || standOf(app.policy, site, j.now) !== 'held') continue;
    if (!planned.sites.some((p) => p.site === name && p.isHeld)) out.push(`${instances} at ${name} were to run on`);
  }
  return out;
}

const serving = (p: ApplicationPlan): ApplicationPlan['sites'] => p.sites.filter((s) => !s.isHeld);
const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
const costOf = (j: Judge, p: ApplicationPlan): number => sum(serving(p).map((s) => s.instances * (j.sites.get(s.site)?.cost ?? 0)));

function limits(j: Judge, { policy }: ApplicationModel, planned: ApplicationPlan): string[] {
  const [total, cost] = [sum(serving(planned).map((s) => s.instances)), costOf(j, planned)];
  const out: string[] = [];
  if (total > policy.instances.max) out.push(`${total} instances; at most ${policy.instances.max}`);
  if (cost > (policy.cost?.ceiling ?? Number.POSITIVE_INFINITY) + EPSILON) out.push(`costs ${cost}; the ceiling is ${policy.cost?.ceiling ?? 0}`);
  const all = cost + sum(planned.sites.filter((s) => s.isHeld).map((s) => s.instances * (j.sites.get(s.site)?.cost ?? 0)));
  if (Math.abs(planned.cost - all) > EPSILON) out.push(`says that it costs ${planned.cost}; it costs ${all}`);
  return out;
}

/** Who serves whom: no more than is asked, than an instance can, or than there is; over the ways that were measured. */
function shares(j: Judge, app: ApplicationModel, planned: ApplicationPlan): string[] {
  const out: string[] = [];
  for (const client of j.model.clientRegions) {
    const served = sum(planned.serves.filter((s) => s.clientRegion === client).map((s) => s.rps));
    if (served > j.demand(app, client) + EPSILON) out.push(`${served} req/s of ${client} are served; it sends ${j.demand(app, client)}`);
  }
  for (const s of planned.serves) {
    const ms = j.rtt(s.clientRegion, s.site);
    if (s.rttMs !== (Number.isNaN(ms) ? 500 : ms)) out.push(`${s.clientRegion} to ${s.site} is ${ms} ms, not ${s.rttMs}`);
  }
  for (const client of new Set(planned.serves.map((s) => s.site))) {
    const n = serving(planned).find((s) => s.site === client)?.instances ?? 0;
    const load = sum(planned.serves.filter((s) => s.site === client).map((s) => s.rps));
    if (load > n * app.perInstance + EPSILON) out.push(`${load} req/s for ${n} instances of ${app.perInstance} at ${client}`);
  }
  return out;
}

/** What is missing must be said, and there must be nothing that could be had: no site with room while the limits allow one more. */
function missing(j: Judge, app: ApplicationModel, planned: ApplicationPlan): string[] {
  const { policy } = app;
  const here = serving(planned);
  const total = sum(here.map((s) => s.instances));
  const rest = (policy.cost?.ceiling ?? Number.POSITIVE_INFINITY) - costOf(j, planned);
  const more = total >= policy.instances.max ? [] : j.model.sites.filter((s) => s.cost <= rest - EPSILON && j.hasRoom(app, s));
  const said = planned.unmet.join('\n');
  const out: string[] = [];
  const judge = (isMissing: boolean, sentence: RegExp, what: string, remedy: typeof more): void => {
    if (isMissing !== sentence.test(said)) out.push(isMissing ? `${what}, and it does not say so: ${said}` : `says that ${what}: ${said}`);
    if (isMissing && remedy.length > 0) out.push(`${what}, and ${remedy[0]?.name ?? ''} has room`);
  };
  const asked = sum(app.demand.map((d) => d.rps));
  const unserved = asked - sum(planned.serves.map((s) => s.rps));
  judge(asked > 0 && unserved > EPSILON, /req\/s (have no place|need more than)/, `${unserved} req/s are not served`, more);
  judge(total < policy.instances.min, /of at least \d+ instances/, `${total} of ${policy.instances.min} instances`, more);
  const there = new Set(here.flatMap((s) => placeIn(policy, j.sites.get(s.site) as (typeof more)[number])));
  judge(there.size < (policy.spread?.min ?? 0), /^spread: /m, `${there.size} of ${policy.spread?.min ?? 0} places`, more.filter((s) => !there.has(placeIn(policy, s))));
  return out;
}

/** A row for every goal of every client region that is served, told by the share of its requests that is within. */
function goals(j: Judge, app: ApplicationModel, planned: ApplicationPlan): string[] {
  const out: string[] = [];
  const distinct = new Map((app.policy.latency ?? []).map((g) => [`${g.clientRegion ?? ''} ${g.milliseconds} ${g.percentile}`, g]));
  for (const client of app.demand.length === 0 ? [] : j.model.clientRegions) {
    const ways = planned.serves.filter((s) => s.clientRegion === client);
    const own = [...distinct.values()].filter((g) => (g.clientRegion ?? client) === client);
    const rows = planned.goals.filter((g) => g.clientRegion === client);
    const wanted = ways.length === 0 ? [] : [...new Set(own.map((g) => `${g.milliseconds} ${g.percentile}`))];
    if (rows.length !== wanted.length) out.push(`${rows.length} rows for ${wanted.length} goals of ${client}`);
    const met = wanted.map((w) => {
      const [milliseconds, percentile] = w.split(' ').map(Number) as [number, number];
      return `${milliseconds} ${sum(ways.filter((s) => s.rttMs <= milliseconds).map((s) => s.rps)) >= (percentile / 100) * j.demand(app, client) - EPSILON}`;
    });
    if (rows.map((g) => `${g.goalMs} ${g.met}`).sort(compare).join() !== met.sort(compare).join()) out.push(`goals of ${client}: ${JSON.stringify(rows)}, but ${met.join()}`);
    for (const g of rows) {
      if (!ways.some((s) => s.site === g.servedFrom && Math.abs(s.rttMs - g.predictedMs) <= 0.051)) out.push(`${client} is not served from ${g.servedFrom} in ${g.predictedMs} ms`);
      const isSaid = planned.unmet.some((u) => u.startsWith(`client region ${client}: `) && u.includes(`, goal ${g.goalMs} ms: `));
      if (isSaid === g.met && !rows.some((o) => o.goalMs === g.goalMs && o.met !== g.met)) out.push(`the goal ${g.goalMs} ms of ${client} is ${g.met ? '' : 'not '}met: ${planned.unmet.join('; ')}`);
    }
  }
  return out;
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** Where nothing may be moved for gain, a site that could go on is only left for a constraint that counts more. */
function moves(j: Judge, app: ApplicationModel, planned: ApplicationPlan): string[] {
  if (noMoves(app, j.now) === null || app.demand.length === 0) return [];
  return (j.current.get(app.key) ?? []).flatMap(({ site: name }) => {
    const site = j.sites.get(name);
    if (site === undefined || !j.hasRoom(app, site, ['open', 'keep']) || planned.sites.some((s) => s.site === name)) return [];
    const here = serving(planned);
    const isForced = here.length === 0 || sum(here.map((s) => s.instances)) >= app.policy.instances.max || costOf(j, planned) + site.cost > (app.policy.cost?.ceiling ?? Number.POSITIVE_INFINITY);
    return isForced ? [] : [`leaves ${name}, though migration.${noMoves(app, j.now) ?? ''}`];
  });
}

/** The changes are the difference, and nothing else. */
function changes(j: Judge, app: ApplicationModel, planned: ApplicationPlan): string[] {
  const names = new Set([...(j.current.get(app.key) ?? []), ...planned.sites].map((s) => s.site));
  const wanted = [...names].flatMap((name) => {
    const [from, to] = [j.before(app, name), planned.sites.find((s) => s.site === name)?.instances ?? 0];
    return from === to ? [] : [`${name} ${from} ${to}`];
  });
  const told = planned.changes.map((c) => `${c.site} ${c.from} ${c.to}`);
  return told.toSorted(compare).join() === wanted.sort(compare).join() ? [] : [`tells ${told.join()} of ${wanted.join()}`];
}
