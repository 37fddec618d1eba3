/**
 * Is every sentence of a plan true? Each must be of a known form, whole; every name and number in it is looked up in the model and in the plan, by
 * rules of docs/policy.md. A sentence of another form is a fault too: nobody has checked it.
 */
import type { ApplicationPlan } from '../../../../../scheduler/global/planner.ts';
import { refusals } from '../../../../../scheduler/global/refusals.ts';
import { EPSILON, isAvoided, noMoves, placeIn, standOf, type Judge } from './rules.ts';
import { against, type Facts, isMs, isPerSecond, isSince, MS, PER_SECOND, SINCE, siteOf } from './reason-facts.ts';
import { isWorth } from './worth.ts';

type Form = readonly [RegExp, (f: Facts, ...parts: string[]) => boolean];

const serving = (p: ApplicationPlan): ApplicationPlan['sites'] => p.sites.filter((s) => !s.isHeld);
const total = (f: Facts): number => serving(f.planned).reduce((sum, s) => sum + s.instances, 0);
const cost = (f: Facts): number => serving(f.planned).reduce((sum, s) => sum + s.instances * (f.j.sites.get(s.site)?.cost ?? 0), 0);
const flow = (f: Facts, client: string, site: string): number => f.planned.serves.filter((s) => s.clientRegion === client && s.site === site).reduce((sum, s) => sum + s.rps, 0);
const isBeyond = (f: Facts, ceiling: string, sites: readonly { readonly cost: number }[]): boolean => f.app.policy.cost?.ceiling === Number(ceiling) && sites.length > 0 && sites.every((s) => cost(f) + s.cost > Number(ceiling) + EPSILON / 1e3);
const form = (text: string): RegExp => new RegExp(`^${text}$`, 'u');

/** Why instances are at a site. `f.site`: which. */
const PLACED: readonly Form[] = [
  [
    form(`client region (\\S+) sends (${PER_SECOND})(?:, (${PER_SECOND}) of them to (\\S+))?; from (\\S+) (${MS})(?:, from (\\S+) (${MS}))?(?:; goal (\\S+) ms)?`),
    (f, client, all, part, to, from, way, other, otherWay, goal) =>
      isPerSecond(all, f.j.demand(f.app, client as string)) && from === f.site && flow(f, client as string, from as string) > 0
      && (part === undefined ? flow(f, client as string, from as string) >= f.j.demand(f.app, client as string) - EPSILON : to === from && isPerSecond(part, flow(f, client as string, from as string)))
      && isMs(way, f.j.rtt(client as string, from as string)) && (other === undefined || (other !== from && isMs(otherWay, f.j.rtt(client as string, other))))
      && (goal === undefined ? !goalsOf(f, client as string).length : Number(goal) === Math.min(...goalsOf(f, client as string))),
  ],
  [form('(\\S+) holds (\\d+) of the minimum of (\\d+); no client region sends requests there now'), (f, site, n, min) => isIdle(f, site as string, n) && f.app.policy.instances.min === Number(min) && Number(n) <= Number(min)],
  [form('(\\S+) holds (\\d+) of spread over (\\d+) (region|site|zone)s; no client region sends requests there now'), (f, site, n, min, over) => isIdle(f, site as string, n) && f.app.policy.spread?.min === Number(min) && f.app.policy.spread.over === over],
  [form(`(\\S+) is back since (${SINCE}); (?:failback\\.automatic is (false)|it must be well for (\\d+) s before it serves again)`), (f, site, since, never, seconds) => site === f.site && isSince(since, siteOf(f, site)) && ['reachable', 'returning'].includes(siteOf(f, site).reach) && (never === undefined ? (f.app.policy.failback?.stabilisationSeconds ?? 10) === Number(seconds) : f.app.policy.failback?.automatic === false)],
  [form(`(\\S+) is (cut-off|down) since (${SINCE}); its instances run on, (others serve meanwhile|and no others have a place)`), (f, site, reach, since, others) => site === f.site && siteOf(f, site).reach === reach && isSince(since, siteOf(f, site)) && total(f) > 0 === others?.startsWith('others')],
];

/** Why a site was left. */
const LEFT: readonly Form[] = [
  [form('(\\S+) is not a site any more'), (f, site) => site === f.site && !f.j.sites.has(site)],
  [form('(\\S+) is (\\S+) for (\\d+) s; the policy says (fence|move)'), (f, site, reach, seconds) => site === f.site && siteOf(f, site).reach === reach && standOf(f.app.policy, siteOf(f, site), f.j.now) === 'lost' && Math.abs((f.j.now - siteOf(f, site).since) / 1000 - Number(seconds)) <= 0.5],
  [form('(\\S+) has (\\S+), which is kept apart from this application'), (f, site, key) => site === f.site && f.j.enemies(f.app).includes(key as string) && f.j.isAt(key as string, site)],
  [form('(\\S+) is not needed for the demand'), (f, site) => site === f.site && f.planned.serves.every((s) => s.rps === 0)],
  [
    form(`client region (\\S+) sends (${PER_SECOND}), (?:(${PER_SECOND}) of them )?served from (\\S+) in (${MS}); (\\S+) is not needed any more`),
    (f, client, all, part, from, way, site) =>
      site === f.site && isPerSecond(all, f.j.demand(f.app, client as string)) && isMs(way, f.j.rtt(client as string, from as string))
      && (part === undefined ? Math.abs(flow(f, client as string, from as string) - f.j.demand(f.app, client as string)) < EPSILON : isPerSecond(part, flow(f, client as string, from as string))) && unserved(f) < EPSILON,
  ],
  [form('(\\S+) gives way: instances\\.max is (\\d+)'), (f, site, max) => site === f.site && f.app.policy.instances.max === Number(max) && total(f) === Number(max)],
  [form('(\\S+) gives way: cost\\.ceiling is (\\S+)'), (f, site, ceiling) => site === f.site && isBeyond(f, ceiling as string, [siteOf(f, site)])],
  [form('(\\S+) (.+)'), (f, site, rest) => site === f.site && against(f, site, rest as string)],
];

/** The first three say why nothing may be moved. */
const KEPT: readonly Form[] = [
  [form('migration\\.allowed is false'), (f) => noMoves(f.app, f.j.now) === 'allowed'],
  [form('(\\d+) moves in the last hour; migration\\.maxMovesPerHour is (\\d+)'), (f, n, most) => noMoves(f.app, f.j.now) === 'maxMovesPerHour' && f.app.policy.migration?.maxMovesPerHour === Number(most) && f.app.movedAt.filter((t) => f.j.now - t < 3_600_000).length === Number(n)],
  [form('(\\d\\d:\\d\\d) UTC is outside migration\\.windows'), (f, clock) => noMoves(f.app, f.j.now) === 'windows' && new Date(f.j.now).toISOString().includes(`T${clock}`)],
  [form('no demand was measured that would justify a move'), (f) => f.app.demand.length === 0],
  [form('(.+) would gain (\\S+), a move must gain (\\S+)'), (f, names, gain, least) => (names as string).split(', ').every((n) => f.j.sites.has(n)) && Number(gain) > 0 && Number(gain) <= Number(least) + 0.005],
];

/** Two of the sites, those first that are nearest to most demand: what speaks against each. */
function hindered(f: Facts, text: string): boolean {
  const starts = [...text.matchAll(/(?:^|; )(\S+) /gu)].flatMap((m) => (f.j.sites.has(m[1] as string) ? [{ at: m.index + (m.index === 0 ? 0 : 2), site: m[1] as string }] : []));
  if (starts[0]?.at !== 0) return false;
  return starts.every(({ at, site }, i) => against(f, site, text.slice(at + site.length + 1, (starts[i + 1]?.at ?? text.length + 2) - 2)));
}

/** Why there is no further instance at any of the sites that would do. */
function binding(f: Facts, text: string, wouldDo: (site: ReturnType<typeof siteOf>) => boolean = () => true): boolean {
  const sites = f.j.model.sites.filter(wouldDo);
  const max = /^instances\.max is (\d+)$/u.exec(text);
  if (max !== null) return f.app.policy.instances.max === Number(max[1]) && total(f) >= Number(max[1]);
  const free = sites.filter((s) => f.j.hasRoom(f.app, s));
  const ceiling = /^(one|another one) would cost more than cost\.ceiling = (\S+)$/u.exec(text);
  if (ceiling !== null) return isBeyond(f, ceiling[2] as string, free) && (ceiling[1] === 'one') === (total(f) === 0);
  if (free.length > 0) return false;
  return text === 'there is no other site' || /^there is no other (region|zone)$/u.test(text) ? sites.length === 0 : hindered(f, text);
}

const MISSED: readonly Form[] = [
  [form(`no site is that near; (\\S+) is (${MS}) away`), (f, site, way) => f.j.model.sites.every((s) => !(f.j.rtt(f.client, s.name) <= f.goal) && !(f.j.rtt(f.client, s.name) < f.j.rtt(f.client, site as string))) && isMs(way, f.j.rtt(f.client, site as string))],
  [form(`(\\S+) \\((${MS})\\) (.+)`), (f, site, way, rest) => isMs(way, f.j.rtt(f.client, site as string)) && against(f, site as string, rest as string) && near(f).every((s) => !f.j.hasRoom(f.app, s))],
  [form('instances\\.max is (\\d+)'), (f, max) => f.app.policy.instances.max === Number(max) && total(f) >= Number(max)],
  [form('another one would cost more than cost\\.ceiling = (\\S+)'), (f, ceiling) => near(f).some((s) => f.j.hasRoom(f.app, s) && isBeyond(f, ceiling as string, [s]))],
  [form(`an instance at (\\S+) \\((${MS})\\) costs more than the share of demand there is worth`), (f, site, way) => isMs(way, f.j.rtt(f.client, site as string)) && f.j.hasRoom(f.app, siteOf(f, site as string)) && !isWorth(f, site as string)],
  [form(`it is missed by less than 15 %, which moves nothing that runs; (\\S+) is (${MS}) away`), (f, site, way) => isTolerated(f) && isMs(way, f.j.rtt(f.client, site as string)) && near(f).some((s) => s.name === site && f.j.hasRoom(f.app, s))],
  [form('(.+)'), (f, text) => isTolerated(f) && near(f).some((s) => f.j.hasRoom(f.app, s)) && holds(KEPT.slice(0, 3), f, text as string)],
];

/** Missed by so little that what runs serves it still. */
const isTolerated = (f: Facts): boolean => f.j.rtt(f.client, f.site) > f.goal && f.j.rtt(f.client, f.site) <= 1.15 * f.goal && flow(f, f.client, f.site) > 0;

const near = (f: Facts): readonly ReturnType<typeof siteOf>[] => f.j.model.sites.filter((s) => f.j.rtt(f.client, s.name) <= f.goal);
const goalsOf = (f: Facts, client: string): readonly number[] => (f.app.policy.latency ?? []).filter((g) => (g.clientRegion ?? client) === client).map((g) => g.milliseconds);
const unserved = (f: Facts): number => f.app.demand.reduce((sum, d) => sum + d.rps, 0) - f.planned.serves.reduce((sum, s) => sum + s.rps, 0);
const isIdle = (f: Facts, site: string, n: string | undefined): boolean => site === f.site && f.planned.sites.some((s) => s.site === site && s.instances === Number(n)) && f.j.model.clientRegions.every((c) => flow(f, c, site) === 0);

function unmet(f: Facts, text: string): boolean {
  const { policy } = f.app;
  const parts = (re: string): readonly string[] | null => form(re).exec(text)?.slice(1) ?? null;
  let m = parts('(no site is allowed, reachable and has room for one instance|there is no place for one instance): (.+)');
  if (m !== null) return total(f) === 0 && f.j.model.sites.some((s) => f.j.hasRoom(f.app, s)) !== m[0]?.startsWith('no site') && binding(f, m[1] as string);
  m = parts('(\\d+) of at least (\\d+) instances have a place: (.+)');
  if (m !== null) return total(f) === Number(m[0]) && policy.instances.min === Number(m[1]) && binding(f, m[2] as string);
  m = parts(`(${PER_SECOND}) need more than instances\\.max = (\\d+) can serve \\((${PER_SECOND})\\)`);
  if (m !== null) return isPerSecond(m[0], f.app.demand.reduce((sum, d) => sum + d.rps, 0)) && policy.instances.max === Number(m[1]) && total(f) === Number(m[1]) && isPerSecond(m[2], total(f) * f.app.perInstance);
  m = parts(`(${PER_SECOND}) have no place: (.+)`);
  if (m !== null) return isPerSecond(m[0], unserved(f)) && binding(f, m[1] as string);
  m = parts('spread: (\\d+) of (\\d+) (region|site|zone)s: (.+)');
  if (m !== null) {
    const there = new Set(serving(f.planned).map((s) => placeIn(policy, siteOf(f, s.site))));
    return there.size === Number(m[0]) && policy.spread?.min === Number(m[1]) && policy.spread.over === m[2] && binding(f, m[3] as string, (s) => !there.has(placeIn(policy, s)));
  }
  m = parts(`client region (\\S+): (${MS}) from (\\S+), goal (\\S+) ms: (.+)`);
  if (m === null) return false;
  const [client, way, from, goal, rest] = m as [string, string, string, string, string];
  const own = { ...f, client, goal: Number(goal), site: from };
  return flow(f, client, from) > 0 && isMs(way, f.j.rtt(client, from)) && goalsOf(f, client).includes(Number(goal)) && (holds(MISSED, own, rest) || (rest === f.planned.kept && near(own).some((s) => f.j.hasRoom(f.app, s))));
}

function holds(forms: readonly Form[], f: Facts, text: string): boolean {
  return forms.some(([re, check]) => {
    const m = re.exec(text);
    return m !== null && check(f, ...(m.slice(1) as string[]));
  });
}

/** Sentences of a plan that are not true of the model. */
export function untrue(j: Judge): string[] {
  const out: string[] = [];
  for (const app of j.model.applications) {
    const planned = j.planOf(app);
    const facts = (site: string): Facts => ({ j, app, planned, site, client: '', goal: 0 });
    const judge = (what: string, text: string, isTrue: boolean): unknown => isTrue || out.push(`${app.key}: ${what}: ${text}`);
    for (const s of planned.sites) judge(`placed at ${s.site}`, s.reason, holds(PLACED, facts(s.site), s.reason));
    for (const c of planned.changes) judge(`${c.site} from ${c.from} to ${c.to}`, c.reason, holds(c.to > 0 ? PLACED : LEFT, facts(c.site), c.reason));
    for (const u of planned.unmet) judge('unmet', u, unmet(facts(''), u));
    if (planned.kept !== null) judge('kept', planned.kept, holds(KEPT, facts(''), planned.kept));
    for (const r of refusals(j.model, app, j.plan)) judge(`refused ${r.site}`, r.reason, refused(facts(r.site), r.reason));
  }
  return out;
}

function refused(f: Facts, text: string): boolean {
  if (against(f, f.site, text)) return true;
  if (!f.j.hasRoom(f.app, siteOf(f, f.site)) && f.j.most(f.app, siteOf(f, f.site)) > 0) return false;
  if (text === 'is not needed: no demand asks for it') return f.app.demand.length === 0;
  const most = Math.max(...f.app.demand.map((d) => d.rps));
  const isMain = (client: string): boolean => f.j.demand(f.app, client) === most;
  const limit = (why: string): boolean => {
    const m = /^(instances\.max is|another one would cost more than cost\.ceiling =) (\S+), and moving one there does not pay$/u.exec(why);
    if (m === null) return why === f.planned.kept;
    return m[1]?.startsWith('instances') === true ? f.app.policy.instances.max === Number(m[2]) && total(f) >= Number(m[2]) : f.app.policy.cost?.ceiling === Number(m[2]) && f.planned.cost + siteOf(f, f.site).cost > Number(m[2]);
  };
  let m = /^could serve client region (\S+); (.+)$/u.exec(text);
  if (m !== null) return isMain(m[1] as string) && f.planned.serves.every((s) => s.clientRegion !== m?.[1]) && (m[2] === 'the instance does not pay' || limit(m[2] as string));
  m = /^has no measured latency from client region (\S+)$/u.exec(text);
  if (m !== null) return isMain(m[1] as string) && Number.isNaN(f.j.rtt(m[1] as string, f.site));
  m = new RegExp(`^is (${MS}) from client region (\\S+)[,;] (\\S+) serves it from (${MS})(?:: (.+))?$`, 'u').exec(text);
  if (m === null) return false;
  const [way, client, from, other, why] = m.slice(1) as [string, string, string, string, string | undefined];
  const [here, there] = [f.j.rtt(client, f.site), f.j.rtt(client, from)];
  const isNearer = here < (Number.isNaN(there) ? 500 : there);
  return isMain(client) && isMs(way, here) && isMs(other, there) && flow(f, client, from) > 0 && isNearer === (why !== undefined) && (why === undefined || why === 'the gain does not pay for the instance or the move' || limit(why)) && !isAvoided(f.app, f.site, f.j.now);
}
