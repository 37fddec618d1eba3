/** What the REST face answers, route by route: one table for routing, decoding and the OpenAPI document, so that they cannot differ. */
import type { Json, JsonObject } from '../../api/definition.ts';
import { MeshError } from '../../api/errors.ts';
import type { Schema } from '../../api/schema.ts';
import type { DryRun, Placed, UnderWay } from '../../api/scheduling.ts';
import { dryRun, type Situation } from './dry-run.ts';
import { keyOfName, requireSites, why } from './explain.ts';
import type { Snapshot } from './global-scheduler.ts';
import { decodeProposal, decodeTraffic } from './rest-input.ts';
import type { PolicyIssue } from './policy.ts';
import type { PolicySpec } from '../../api/kinds/mesh.ts';
import type { SteeredFront } from './steering.ts';
import type { Telemetry } from './telemetry.ts';

/** Who asks. `tenant` null = an operator, who sees every tenant; `defaultTenant`: of names that do not say theirs. */
export interface Caller {
  readonly name: string;
  readonly tenant: string | null;
  readonly defaultTenant: string;
}

/** What the routes read. The global scheduler is one. */
export interface Source {
  readonly snapshot: Snapshot | null;
  steering(application: string, clientRegion: string): readonly SteeredFront[] | null;
  readonly telemetry: Pick<Telemetry, 'repairs' | 'links' | 'holes' | 'rates'>;
}

export interface RouteDeps {
  readonly source: Source;
  /** Fields of a policy that can never be right, as the sites are. */
  readonly policyIssues: (policy: PolicySpec, path: string) => Promise<readonly PolicyIssue[]>;
}

export interface Asked {
  readonly query: Readonly<Record<string, string>>;
  readonly body: JsonObject;
  readonly caller: Caller;
}

export interface Parameter {
  readonly name: string;
  readonly required: boolean;
  readonly description: string;
}

export interface Route {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly summary: string;
  /** May be asked without a credential when the configuration says so. */
  readonly mayBeOpen: boolean;
  /** Operators only. */
  readonly operators: boolean;
  /** Plans: takes a share of the processor that placement needs too. */
  readonly plans: boolean;
  readonly parameters: readonly Parameter[];
  /** null = no body. */
  readonly body: Schema | null;
  readonly answers: string;
  readonly answer: (asked: Asked, deps: RouteDeps) => unknown;
}

const OBJECTS: Schema = { type: 'array', description: 'Objects as they would be applied: Application, PlacementPolicy; Tenant, Namespace and Vpc are taken as being there.', maxItems: 1000, items: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } };
const SITES_DOWN: Schema = { type: 'array', description: 'Sites to think away.', maxItems: 1000, items: { type: 'string', minLength: 1, maxLength: 253 } };
const TRAFFIC: Schema = {
  type: 'object',
  description: 'Demand by application and client region: requests per second, or a factor on those of now such as "x2". "*" stands for every application or every client region (factors only). What is not named stays as it is.',
  additionalProperties: { type: 'object', description: 'By client region.', additionalProperties: { 'x-kubernetes-int-or-string': true, description: '120, or "x2".' } },
};

export function snapshotOf(source: Source): Snapshot {
  if (source.snapshot === null) throw new MeshError('unavailable', 'nothing was planned yet: no region has answered, or another instance leads', { next: 'ask again in a few seconds, or ask the instance that leads' });
  return source.snapshot;
}

export const sees = (caller: Caller) => (key: string): boolean => caller.tenant === null || key.startsWith(`${caller.tenant}/`);

const none = (schema: Partial<Route> & Pick<Route, 'path' | 'summary' | 'answers' | 'answer'>): Route => ({ method: 'GET', mayBeOpen: false, operators: false, plans: false, parameters: [], body: null, ...schema });

const need = (name: string, description: string): Parameter => ({ name, required: true, description });
const APPLICATION = need('application', 'tenant/namespace/name; the tenant and the namespace may be left out where the name is the only one.');

async function situationOf({ body, caller }: Asked, deps: RouteDeps, snapshot: Snapshot): Promise<Situation> {
  const sitesDown = (body['siteDown'] ?? []) as string[];
  requireSites(snapshot, sitesDown, 'siteDown');
  const proposal = decodeProposal((body['objects'] ?? []) as Json[], caller);
  for (const { policy, path } of proposal.found) {
    const [issue] = await deps.policyIssues(policy, path);
    if (issue !== undefined) throw new MeshError('invalid', `${issue.path}: ${issue.message}`, { fields: { path: issue.path } });
  }
  const keyOf = (name: string): string => (proposal.applications.has(name) ? name : keyOfName(snapshot, name, sees(caller)));
  return { proposal, sitesDown, traffic: decodeTraffic((body['traffic'] ?? {}) as JsonObject, keyOf, snapshot.model.clientRegions) };
}

async function run(asked: Asked, deps: RouteDeps): Promise<DryRun> {
  const snapshot = snapshotOf(deps.source);
  return dryRun(snapshot, await situationOf(asked, deps, snapshot), sees(asked.caller));
}

function underWay(snapshot: Snapshot, isVisible: (key: string) => boolean): UnderWay[] {
  return [...snapshot.objects.placements].flatMap(([application, p]) =>
    isVisible(application) ? (p.status?.sites ?? []).flatMap((s) => (s.state === 'serving' ? [] : [{ application, site: s.site, state: s.state, ready: s.ready, instances: s.instances }])) : [],
  );
}

function placements(snapshot: Snapshot, isVisible: (key: string) => boolean): { readonly placements: readonly Placed[] } {
  return { placements: [...snapshot.objects.placements].flatMap(([application, p]) => (isVisible(application) ? [{ application, spec: p.spec, status: p.status ?? {} }] : [])) };
}

function demand({ model }: Snapshot, isVisible: (key: string) => boolean): unknown {
  return { demand: model.applications.filter((a) => isVisible(a.key)).map((a) => ({ application: a.key, regions: Object.fromEntries(a.demand.map((d) => [model.clientRegions[d.region], Math.round(d.rps * 100) / 100])) })) };
}

function steering({ query, caller }: Asked, { source }: RouteDeps): unknown {
  const { application = '', clientRegion = '' } = query;
  const key = application.split('/').length >= 3 || source.snapshot === null ? application : keyOfName(source.snapshot, application, sees(caller));
  const fronts = sees(caller)(key) ? source.steering(key, clientRegion) : null;
  if (fronts === null) throw new MeshError('not-found', `no application "${application}" is placed`);
  return { fronts };
}

export const ROUTES: readonly Route[] = [
  none({ path: '/v1/steering', summary: 'The fronts that serve an application for clients of a region, nearest reachable first.', mayBeOpen: true, parameters: [APPLICATION, need('clientRegion', 'Where the clients are.')], answers: '{ fronts: [{ site, address, port, ... }] }', answer: steering }),
  none({
    path: '/v1/plan', summary: 'What the next pass would change, and what is under way. Writes nothing.', plans: true, answers: 'DryRun and underWay',
    answer: async (asked, deps) => ({ ...(await run(asked, deps)), underWay: underWay(snapshotOf(deps.source), sees(asked.caller)) }),
  }),
  none({
    method: 'POST', path: '/v1/plan', summary: 'What would change if these objects were applied. Writes nothing.', plans: true, answers: 'DryRun',
    body: { type: 'object', required: ['objects'], properties: { objects: { ...OBJECTS, minItems: 1 } } }, answer: run,
  }),
  none({
    path: '/v1/what-if', summary: 'What would change if sites were down for so long that every policy acts. Writes nothing.', plans: true, parameters: [need('siteDown', 'Sites, separated by commas.')], answers: 'DryRun',
    answer: ({ query, caller }, deps) => run({ query, caller, body: { siteDown: (query['siteDown'] ?? '').split(',') } }, deps),
  }),
  none({
    method: 'POST', path: '/v1/what-if', summary: 'What would change with sites down, other traffic and other objects, together. Writes nothing.', plans: true, answers: 'DryRun',
    body: { type: 'object', properties: { siteDown: SITES_DOWN, traffic: TRAFFIC, objects: OBJECTS } },
    answer: (asked, deps) => {
      if (Object.keys(asked.body).length === 0) throw new MeshError('invalid', 'the body is empty: give siteDown, traffic or objects', { fields: { path: '' } });
      return run(asked, deps);
    },
  }),
  none({
    path: '/v1/why', summary: 'Why an application is where it is, why not elsewhere, which goals are met, what was moved last.', parameters: [APPLICATION, { name: 'site', required: false, description: 'Only this site.' }], answers: 'Why',
    answer({ query, caller }, deps) {
      const snapshot = snapshotOf(deps.source);
      return why(snapshot, keyOfName(snapshot, query['application'] ?? '', sees(caller)), query['site']);
    },
  }),
  none({ path: '/v1/placements', summary: 'Where every application runs.', answers: '{ placements: [{ application, spec, status }] }, as in the kind Placement', answer: ({ caller }, deps) => placements(snapshotOf(deps.source), sees(caller)) }),
  none({
    path: '/v1/sites', summary: 'Every site as the planner sees it, and how often samples were repaired.', operators: true, answers: '{ sites: [...], repairs: { ... } }',
    answer(_asked, { source }) {
      const snapshot = snapshotOf(source);
      return { sites: snapshot.model.sites.map((s) => ({ ...s, reason: snapshot.states.get(s.name)?.reason ?? '' })), repairs: Object.fromEntries(source.telemetry.repairs) };
    },
  }),
  none({
    path: '/v1/links', summary: 'Round trip (ms), loss (0..1) and bandwidth (Mbit/s, null = no estimate) from a site to others, as its probes measured them in the last ten minutes; and the client regions whose way to it nobody measured, with the ms that it is taken for (null = unknown).', operators: true, parameters: [need('site', 'Whose probes.')], answers: '{ links: [{ from, to, rttMs, loss, mbps }], holes: [{ clientRegion, takenMs }] }',
    answer({ query }, { source }) {
      const snapshot = snapshotOf(source);
      const site = query['site'] ?? '';
      requireSites(snapshot, [site], 'site');
      const fronts = snapshot.model.sites.flatMap((s) => (s.front === null ? [] : [s.name]));
      return { links: source.telemetry.links(site, snapshot.at), holes: source.telemetry.holes(site, snapshot.model.clientRegions, fronts, snapshot.at) };
    },
  }),
  none({
    path: '/v1/traffic', summary: 'What the fronts count for an application: per second, by client region and front, with the round trip between the two (ms).', parameters: [APPLICATION], answers: '{ traffic: [{ clientRegion, site, connections, bytesIn, bytesOut, rttMs }] }',
    answer({ query, caller }, { source }) {
      const snapshot = snapshotOf(source);
      return { traffic: source.telemetry.rates(keyOfName(snapshot, query['application'] ?? '', sees(caller)), snapshot.at) };
    },
  }),
  none({ path: '/v1/demand', summary: 'Requests per second by application and client region, as planned for: measured, or predicted where that is more.', answers: '{ demand: [{ application, regions: { <client region>: rps } }] }', answer: ({ caller }, deps) => demand(snapshotOf(deps.source), sees(caller)) }),
];
