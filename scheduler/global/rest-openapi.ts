/** The OpenAPI 3 document of the REST face, from the table that routes and decodes. */
import type { Json, JsonObject } from '../../api/definition.ts';
import { definitions } from '../../api/definitions.ts';
import type { Schema } from '../../api/schema.ts';
import type { Route } from './rest-routes.ts';

const text = (description: string): JsonObject => ({ type: 'string', description });
const number = (description: string): JsonObject => ({ type: 'number', description });
const object = (properties: JsonObject, description = ''): JsonObject => ({ type: 'object', description, properties });
const array = (items: JsonObject): JsonObject => ({ type: 'array', items });

const COMPARISON = { before: { type: 'number', nullable: true, description: 'In the plan in force.' }, after: { type: 'number', nullable: true, description: 'In the new plan.' } } as const;
const PLACED = object({ site: text('Site.'), instances: number('Instances.'), reason: text('Why here.') });
const REFUSED = object({ site: text('Site.'), reason: text('What speaks against it.') });

const SCHEMAS: JsonObject = {
  DryRun: object({
    at: number('The moment of the snapshot, ms since the epoch.'),
    changes: array(object({ application: text('tenant/namespace/name'), site: text('Site.'), from: number('Instances now.'), to: number('Instances then.'), reason: text('Why.'), latencyMs: number('Mean round trip of the application then.'), cost: number('Of the application then, per hour.') })),
    summary: object({
      applicationsChanged: number('Applications with a change.'), instancesStarted: number('Instances that start.'), instancesStopped: number('Instances that stop.'), costPerHour: object({ ...COMPARISON }),
      latencyMs: array(object({ clientRegion: text('Client region.'), rps: number('Its requests per second then.'), ...COMPARISON })), goalsMet: object({ before: text('met/all'), after: text('met/all') }),
    }),
    unmet: array(object({ application: text('tenant/namespace/name'), reasons: array(text('What is not met and what binds.')) })),
    refused: array(object({ application: text('tenant/namespace/name'), reason: text('Why it would not be planned.') })),
    underWay: array(object({ application: text('tenant/namespace/name'), site: text('Site.'), state: text('starting, draining or unreachable'), ready: number('Ready.'), instances: number('Wanted.') })),
  }, 'What a plan would change against the one in force.'),
  Why: object({
    application: text('tenant/namespace/name'), sites: array(PLACED), refused: array(REFUSED),
    goals: array(object({ clientRegion: text('Client region.'), goalMs: number('Goal.'), predictedMs: number('Predicted round trip.'), met: { type: 'boolean' }, servedFrom: text('Site.') })),
    unmet: array(text('What is not met and what binds.')), kept: { type: 'string', nullable: true, description: 'Why a better placement was not taken.' },
    moves: array(object({ at: text('When.'), from: text('Site.'), to: text('Site.'), reason: text('Why.'), phase: text('How far.') })), latencyMs: number('Mean round trip.'), cost: number('Per hour.'),
  }),
  Error: object({ error: text('Kind of the error: invalid, unauthenticated, forbidden, not-found, too-large, unsupported, unavailable, internal.'), message: text('What is wrong; begins with the path of the field.'), path: { type: 'string', nullable: true, description: 'The field.' }, next: { type: 'string', nullable: true, description: 'What to do.' } }),
};

/** Kubernetes' types are described by the API server itself (`/openapi/v3`). */
function plain(s: Schema): JsonObject {
  const { $ref, properties, items, additionalProperties, ...rest } = s;
  if ($ref !== undefined) return { type: 'object', description: s.description ?? `${$ref} of Kubernetes` };
  const out = structuredClone(rest) as JsonObject;
  if (out['x-kubernetes-int-or-string'] === true) out['oneOf'] = [{ type: 'number' }, { type: 'string' }];
  for (const key of Object.keys(out)) if (key.startsWith('x-')) delete out[key];
  if (properties !== undefined) out['properties'] = Object.fromEntries(Object.entries(properties).map(([name, p]) => [name, plain(p)]));
  if (items !== undefined) out['items'] = plain(items);
  if (s['x-proxima-one-or-many'] === true && items !== undefined) return { description: s.description ?? '', oneOf: [plain(items), out] };
  if (additionalProperties !== undefined) out['additionalProperties'] = typeof additionalProperties === 'boolean' ? additionalProperties : plain(additionalProperties);
  return out;
}

const ref = (name: string): JsonObject => ({ $ref: `#/components/schemas/${name}` });

function bodyOf(route: Route): JsonObject {
  if (route.body === null) return {};
  const schema = plain(route.body);
  const properties = schema['properties'] as JsonObject;
  if (properties['objects'] !== undefined) properties['objects'] = { ...(properties['objects'] as JsonObject), items: { anyOf: [ref('Application'), ref('PlacementPolicy'), { type: 'object' }] } };
  return { requestBody: { required: true, content: { 'application/json': { schema } } } };
}

function operation(route: Route): JsonObject {
  const named = /^\w+/.exec(route.answers)?.[0] ?? '';
  const schema = SCHEMAS[named] === undefined ? { type: 'object', description: route.answers } : ref(named);
  const error = (description: string): JsonObject => ({ description, content: { 'application/json': { schema: ref('Error') } } });
  return {
    summary: route.summary,
    parameters: route.parameters.map((p): Json => ({ name: p.name, in: 'query', required: p.required, description: p.description, schema: { type: 'string' } })),
    ...bodyOf(route),
    security: [...(route.mayBeOpen ? [{}] : []), { certificate: [] }, { bearer: [] }],
    responses: {
      '200': { description: route.answers, content: { 'application/json': { schema } } },
      '400': error('A parameter or a field is wrong; path names it.'), '401': error('No credential, or one that is not believed.'), '403': error('Not for this credential.'), '404': error('No such application or site.'),
      '503': error('Nothing was planned yet, or too many dry runs at once: ask again.'),
    },
  };
}

export function openApi(routes: readonly Route[]): JsonObject {
  const paths: Record<string, JsonObject> = {};
  for (const route of routes) paths[route.path] = { ...paths[route.path], [route.method.toLowerCase()]: operation(route) };
  return {
    openapi: '3.0.3',
    info: { title: 'Proxima global scheduler', version: 'v1', description: 'Where applications run, why, and what would be if. Nothing here changes anything: objects are applied to the global API.' },
    paths,
    components: {
      schemas: { ...SCHEMAS, Application: plain(definitions.Application.schema), PlacementPolicy: plain(definitions.PlacementPolicy.schema) },
      securitySchemes: { certificate: { type: 'mutualTLS', description: 'A client certificate of the mesh, as for the global API.' }, bearer: { type: 'http', scheme: 'bearer' } },
    },
  };
}
