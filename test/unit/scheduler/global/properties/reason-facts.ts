/** What a sentence is held against: the model, the plan, and the one thing it is about. */
import type { ApplicationModel, SiteModel } from '../../../../../scheduler/global/model.ts';
import type { ApplicationPlan } from '../../../../../scheduler/global/planner.ts';
import { EPSILON, fits, standOf, type Judge } from './rules.ts';

export interface Facts {
  readonly j: Judge;
  readonly app: ApplicationModel;
  readonly planned: ApplicationPlan;
  readonly site: string;
  readonly client: string;
  readonly goal: number;
}

export const MS = '[\\d.]+ ms|an unmeasured time';
export const PER_SECOND = '[\\d.e-]+ req\\/s';
export const SINCE = '\\d{4}-\\d\\d-\\d\\dT[\\d:.]+Z';

export function siteOf(f: Facts, name: string): SiteModel {
  const found = f.j.sites.get(name);
  if (found === undefined) throw new Error(`a sentence names ${name}, which is no site`);
  return found;
}

/** Is a text what a number is when it is rounded to as many digits? */
function isRounded(text: string, value: number): boolean {
  const number = Number(text);
  const digits = /\.(\d+)$/u.exec(text)?.[1]?.length ?? 0;
  return Math.abs(number - value) <= 0.5 * 10 ** -digits + EPSILON;
}

export function isMs(text: string | undefined, ms: number): boolean {
  if (text === 'an unmeasured time') return Number.isNaN(ms);
  return text !== undefined && isRounded(text.replace(' ms', ''), ms);
}

export function isPerSecond(text: string | undefined, rps: number): boolean {
  const number = text?.replace(' req/s', '') ?? '';
  return isRounded(number, rps) && (rps === 0 || Number(number) > 0);
}

export const isSince = (text: string | undefined, site: SiteModel): boolean => Date.parse(text ?? '') === site.since;

/** Does this speak against one more instance at the site, and is it so? */
export function against(f: Facts, name: string, text: string): boolean {
  const site = siteOf(f, name);
  const { policy } = f.app;
  const m = (re: string): readonly string[] | null => new RegExp(`^${re}$`, 'u').exec(text)?.slice(1) ?? null;
  let p = m('has (\\S+) of (\\S+) (\\S+) free, one instance needs (\\S+)');
  if (p !== null) {
    const dimension = p[2] === 'mCPU' ? 'cpu' : p[2] === 'MiB' ? 'memory' : (p[2] as string);
    const [free, size] = [f.j.free(site, dimension), f.j.size(f.app, name, dimension)];
    return Math.abs(Number(p[0]) - Math.max(0, free)) <= 0.051 && Number(p[1]) === f.j.total(site, dimension) && Number(p[3]) === size && free < size;
  }
  p = m('has (\\S+); (antiAffinity names it|its antiAffinity names this application)');
  if (p !== null) {
    const [key, who] = p as [string, string];
    const names = (a: ApplicationModel | undefined): readonly string[] => (a?.policy.antiAffinity ?? []).map((n) => `acme/default/${n}`);
    return f.j.isAt(key, name) && (who.startsWith('its') ? names(f.j.model.applications.find((a) => a.key === key)).includes(f.app.key) : names(f.app).includes(key));
  }
  p = m(`is back since (${SINCE}) and not yet open again`);
  if (p !== null) return isSince(p[0], site) && (site.reach === 'reachable' || site.reach === 'returning') && standOf(policy, site, f.j.now) === 'held';
  p = m(`is back since (${SINCE}) and has (\\d+) again; failback\\.maxPerMinute is (\\d+)`);
  if (p !== null) return isSince(p[0], site) && policy.failback?.maxPerMinute === Number(p[2]) && (f.planned.sites.find((s) => s.site === name)?.instances ?? 0) === Number(p[1]) && f.j.most(f.app, site) <= Number(p[1]);
  p = m(`is (suspect|cut-off|down) since (${SINCE})`);
  if (p !== null) return site.reach === p[0] && isSince(p[1], site) && standOf(policy, site, f.j.now) !== 'open';
  p = m('is not tried again yet: (.+)');
  if (p !== null) return f.app.avoid.some((a) => a.site === name && a.reason === p?.[0] && a.until > f.j.now);
  return forbidden(f.app.policy, site, m);
}

function forbidden(policy: ApplicationModel['policy'], site: SiteModel, m: (re: string) => readonly string[] | null): boolean {
  const isEdge = site.kind === 'edge';
  if (m('is an edge site; the policy says edgeAllowed: false') !== null) return isEdge && policy.edgeAllowed === false;
  if (m('is in sites\\.forbidden') !== null) return policy.sites?.forbidden?.includes(site.name) === true;
  if (m('is not selected by sites\\.required') !== null) return policy.sites?.required !== undefined && !fits(policy.sites.required, site);
  if (m('is not an edge site; the policy says overflow: false') !== null) return !isEdge && policy.overflow === false;
  if (m('is an edge site that sites\\.preferred does not select; the policy says overflow: false') !== null) return isEdge && policy.overflow === false && policy.sites?.preferred?.every((s) => !fits(s, site)) === true;
  let p = m('is in region (\\S+); residency allows (.*)');
  if (p !== null) return site.region === p[0] && p[1] === policy.residency?.join(', ') && policy.residency?.includes(site.region) === false;
  p = m('has trust (\\S+); the policy asks for (\\S+)');
  return p !== null && site.trust === Number(p[0]) && policy.minTrust === Number(p[1]) && site.trust < policy.minTrust;
}
