/** Questions about oneself: `kubectl auth can-i` and `auth whoami`. Answered, never stored. */
import { Resources } from '../../api/resources.ts';
import type { JsonObject } from '../../api/definition.ts';
import { authorize, type Verb } from './authorize.ts';
import { objectBody } from './body.ts';
import { at } from './bytes.ts';
import type { Identity } from './identity.ts';
import { isMaster } from './identity.ts';
import type { ResourcePath } from './request.ts';
import type { Answer } from './resource-handler.ts';

const REVIEWS: ReadonlyMap<string, { readonly group: string; readonly kind: string }> = new Map([
  ['selfsubjectaccessreviews', { group: 'authorization.k8s.io', kind: 'SelfSubjectAccessReview' }],
  ['selfsubjectrulesreviews', { group: 'authorization.k8s.io', kind: 'SelfSubjectRulesReview' }],
  ['selfsubjectreviews', { group: 'authentication.k8s.io', kind: 'SelfSubjectReview' }],
]);

export const isReview = (path: ResourcePath): boolean => REVIEWS.get(path.plural)?.group === path.group;

export function answerReview(path: ResourcePath, who: Identity, contentType: string, body: Buffer | null): Answer {
  const kind = REVIEWS.get(path.plural)?.kind ?? '';
  const asked = objectBody(contentType, body);
  const status = kind === 'SelfSubjectAccessReview' ? access(asked, who) : kind === 'SelfSubjectReview' ? self(who) : rules(who);
  const answer: JsonObject = { ...asked, kind, apiVersion: `${path.group}/v1`, metadata: { creationTimestamp: null }, status };
  return { code: 201, body: Buffer.from(JSON.stringify(answer)) };
}

function access(asked: JsonObject, who: Identity): JsonObject {
  const text = (path: string): string => {
    const v = at(asked, `spec.resourceAttributes.${path}`);
    return typeof v === 'string' ? v : '';
  };
  const group = text('group');
  const plural = text('resource');
  const resource = Object.values(Resources).find((r) => r.plural === plural && (group === '*' || r.group === group));
  if (isMaster(who)) return { allowed: true };
  if (resource === undefined) return { allowed: false, reason: 'no such resource here' };
  const why = authorize(who, { verb: text('verb') as Verb, resource, subresource: text('subresource'), tenant: resource.scope === 'cluster' ? null : who.tenant });
  return why === null ? { allowed: true } : { allowed: false, reason: why };
}

function self(who: Identity): JsonObject {
  return { userInfo: { username: who.name, groups: [...who.groups], extra: { tenant: [who.tenant] } } };
}

function rules(who: Identity): JsonObject {
  const everything = { verbs: ['*'], apiGroups: ['*'], resources: ['*'] };
  const verbs: readonly Verb[] = ['get', 'list', 'watch', 'create', 'update', 'patch', 'delete'];
  const own = Object.values(Resources).map((r) => ({
    verbs: verbs.filter((verb) => authorize(who, { verb, resource: r, subresource: '', tenant: r.scope === 'cluster' ? null : who.tenant }) === null),
    apiGroups: [r.group],
    resources: [r.plural],
  }));
  return { resourceRules: isMaster(who) ? [everything] : own.filter((r) => r.verbs.length > 0), nonResourceRules: [], incomplete: false };
}
