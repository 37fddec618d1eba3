/**
 * The boundary of the REST face: query and body of a request, decoded once, with limits; every refusal names the path, as in
 * `objects[2].spec.policy.instances.min`. Objects go through the kind's own schema, defaults and rules, as when they are applied.
 */
import { checkShape, decodeJson, type Limits } from '../../api/decode.ts';
import { asText, type Issue, type Json, type JsonObject, type KindDefinition } from '../../api/definition.ts';
import { definitions } from '../../api/definitions.ts';
import { MeshError } from '../../api/errors.ts';
import type { Application, PlacementPolicy, PolicySpec } from '../../api/kinds/mesh.ts';
import { resolveType } from '../../api/kubernetes-types.ts';
import { apiVersionOf } from '../../api/resources.ts';
import { applyDefaults, prune, validate, type Schema, type Walk } from '../../api/schema.ts';
import type { Proposal, TrafficRule } from './dry-run.ts';

export const LIMITS: Limits = { bytes: 1024 * 1024, depth: 32, items: 1000 };

export function invalidAt(path: string, message: string, next?: string): MeshError {
  return new MeshError('invalid', path === '' ? message : `${path}: ${message}`, { fields: { path }, ...(next === undefined ? {} : { next }) });
}

/** Checks a value against a schema of ours; the first thing that is wrong is the error. */
export function decodeBy(schema: Schema, value: Json, path: string): Json {
  const walk: Walk = { issues: [], unknown: [], resolve: resolveType };
  validate(schema, value, path, walk);
  throwFirst([...walk.unknown, ...walk.issues]);
  return value;
}

function throwFirst(issues: readonly Issue[]): void {
  const [first] = issues;
  if (first !== undefined) throw invalidAt(first.path, first.message);
}

export function decodeBodyBy(schema: Schema, contentType: string, body: Buffer | null): JsonObject {
  if (body === null || body.length === 0) throw invalidAt('', 'the request has no body; see /v1/openapi.json');
  if (contentType !== '' && contentType !== 'application/json') throw new MeshError('unsupported', `content-type: "${contentType}" is not read here`, { fields: { path: 'content-type' }, next: 'send application/json' });
  const value = decodeJson(body, LIMITS);
  checkShape(value, LIMITS);
  if (value === null || typeof value !== 'object' || Array.isArray(value)) throw invalidAt('', 'the body must be a map');
  return decodeBy(schema, value, '') as JsonObject;
}

/** Whose objects these are: the tenant of the credential, or any for an operator. */
export interface Owner {
  readonly tenant: string | null;
  /** Of objects that do not say theirs. */
  readonly defaultTenant: string;
}

const PROPOSABLE = ['Application', 'PlacementPolicy'] as const;
/** Taken as being there, so that a whole file can be tried. */
const ASSUMED: ReadonlySet<string> = new Set(['Tenant', 'Namespace', 'Vpc']);

export interface DecodedProposal extends Proposal {
  /** Every policy in it and its path, for the checks that need the sites. */
  readonly found: readonly { readonly policy: PolicySpec; readonly path: string }[];
}

export function decodeProposal(objects: readonly Json[], owner: Owner): DecodedProposal {
  const applications = new Map<string, Application>();
  const policies = new Map<string, PolicySpec>();
  const vpcs = new Set<string>();
  const found: { policy: PolicySpec; path: string }[] = [];
  for (const [i, value] of objects.entries()) {
    const path = `objects[${i}]`;
    if (value === null || typeof value !== 'object' || Array.isArray(value)) throw invalidAt(path, 'must be an object with apiVersion, kind, metadata and spec');
    const kind = asText(value['kind']);
    const key = keyIn(value, kind, path, owner);
    if (kind === 'Vpc') vpcs.add(`${key.split('/')[0] ?? ''}/${asText((value['metadata'] as JsonObject)['name'])}`);
    if (ASSUMED.has(kind)) continue;
    const name = PROPOSABLE.find((p) => p === kind);
    if (name === undefined) throw invalidAt(`${path}.kind`, `"${kind}" is not one of ${[...PROPOSABLE, ...ASSUMED].join(', ')}`);
    const object = complete(definitions[name], value, path) as unknown;
    if (applications.has(key) && name === 'Application') throw invalidAt(path, `${key} is there twice`);
    if (name === 'Application') {
      const app = object as Application;
      applications.set(key, app);
      if (app.spec.policy !== undefined) found.push({ policy: app.spec.policy, path: `${path}.spec.policy` });
    } else {
      const { spec } = object as PlacementPolicy;
      policies.set(key, spec);
      found.push({ policy: spec, path: `${path}.spec` });
    }
  }
  return { applications, policies, vpcs, found };
}

/** Fills tenant and namespace in, as the API does from URL and credential. */
function keyIn(object: JsonObject, kind: string, path: string, owner: Owner): string {
  const meta = object['metadata'];
  if (meta === null || typeof meta !== 'object' || Array.isArray(meta)) throw invalidAt(`${path}.metadata`, 'is required');
  const name = asText(meta['name']);
  if (name === '') throw invalidAt(`${path}.metadata.name`, 'is required');
  const tenant = kind === 'Tenant' ? name : asText(meta['tenant']) || owner.defaultTenant;
  if (owner.tenant !== null && tenant !== owner.tenant) throw new MeshError('forbidden', `${path}.metadata.tenant: the credential is of tenant "${owner.tenant}", not "${tenant}"`, { fields: { path: `${path}.metadata.tenant` } });
  if (ASSUMED.has(kind)) return `${tenant}//${name}`;
  const namespace = asText(meta['namespace']) || 'default';
  meta['tenant'] = tenant;
  meta['namespace'] = namespace;
  return `${tenant}/${namespace}/${name}`;
}

/** A copy as the API would store it: checked, defaults filled in. */
function complete(def: KindDefinition, given: JsonObject, path: string): JsonObject {
  const object = structuredClone(given);
  prune(object);
  const apiVersion = apiVersionOf(def.resource);
  if (object['apiVersion'] !== apiVersion) throw invalidAt(`${path}.apiVersion`, `expected ${apiVersion}, got "${asText(object['apiVersion'])}"`);
  decodeBy(def.schema, object, path);
  applyDefaults(def.schema, object, resolveType);
  def.defaults(object, null);
  throwFirst(def.check(object, null).map((i) => ({ ...i, path: `${path}.${i.path}` })));
  return object;
}

const FACTOR = /^x(\d{1,6}(\.\d{1,6})?)$/;
const MAX_RPS = 1e9;
const ANY = '*';

/**
 * `{ "<application>": { "<client region>": 120 | "x2" } }`, where `*` stands for every application or every client region. Sorted so that the
 * first rule that fits is the most exact one.
 */
export function decodeTraffic(traffic: JsonObject, keyOf: (name: string) => string, clientRegions: readonly string[]): readonly TrafficRule[] {
  const rules = Object.entries(traffic).flatMap(([name, regions]) => {
    const path = `traffic[${name}]`;
    if (regions === null || typeof regions !== 'object' || Array.isArray(regions)) throw invalidAt(path, `must be a map of client regions, such as { ${clientRegions[0] ?? 'metro-a'}: x2 }`);
    const application = name === ANY ? null : keyAt(name, path, keyOf);
    return Object.entries(regions).map(([region, value]): TrafficRule => {
      const at = `${path}[${region}]`;
      if (region !== ANY && !clientRegions.includes(region)) throw invalidAt(at, `no client region "${region}"; there are ${clientRegions.slice(0, 12).join(', ') || 'none'}`);
      const demand = demandOf(value, at);
      if ('rps' in demand && (application === null || region === ANY)) throw invalidAt(at, `${demand.rps} requests per second are of one application and one client region; for "*" give a factor such as x2`);
      return { application, clientRegion: region === ANY ? null : region, demand };
    });
  });
  const exactness = (r: TrafficRule): number => (r.application === null ? 0 : 2) + (r.clientRegion === null ? 0 : 1);
  return rules.sort((a, b) => exactness(b) - exactness(a));
}

function keyAt(name: string, path: string, keyOf: (name: string) => string): string {
  try {
    return keyOf(name);
  } catch (error) {
    throw error instanceof MeshError ? invalidAt(path, error.message, error.next ?? undefined) : error;
  }
}

function demandOf(value: Json, path: string): TrafficRule['demand'] {
  if (typeof value === 'number' && value >= 0 && value <= MAX_RPS) return { rps: value };
  const factor = typeof value === 'string' ? FACTOR.exec(value)?.[1] : undefined;
  if (factor !== undefined) return { factor: Number(factor) };
  throw invalidAt(path, `expected requests per second from 0 to ${MAX_RPS}, or a factor such as x2 or x0.5; got ${JSON.stringify(value)}`);
}
