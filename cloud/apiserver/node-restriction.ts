/**
 * What a node may write, looked at with the object in hand: itself, and what runs on it. A stolen node key is then the trouble of one node.
 * The rules are those of Kubernetes' NodeRestriction, and ours for what Kubernetes has not: sites and droplets. Pure.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Json, JsonObject, KindDefinition } from '../../api/definition.ts';
import { at } from './bytes.ts';
import { forbidden } from './errors.ts';
import { type Identity, isMaster, nodeOf } from './identity.ts';

const SITE_LABEL = 'mesh.proxima.io/site';
/** Labels that say more about a node than itself can know. */
const KEPT_LABELS = ['node-restriction.kubernetes.io/', 'mesh.proxima.io/'];
const LEASES = 'node-lease';
const ANNOTATIONS = 'mesh.proxima.io/';

export interface NodeWrite {
  readonly node: string;
  /** Of its certificate; null = it names none. */
  readonly site: string | null;
  /** null = deletion. */
  readonly object: JsonObject | null;
  /** null = creation. */
  readonly live: JsonObject | null;
}

type Rule = (w: NodeWrite) => string | null;

const nameOf = (w: NodeWrite): Json | undefined => at(w.live ?? w.object ?? undefined, 'metadata.name');
const isOwnName: Rule = (w) => (nameOf(w) === w.node ? null : `node "${w.node}" may write only what bears its own name`);

const RULES: Readonly<Record<string, Rule>> = {
  '/nodes': (w) => isOwnName(w) ?? keptLabels(w) ?? keptSpec(w),
  'coordination.k8s.io/leases': (w) => isOwnName(w) ?? (at(w.live ?? w.object ?? undefined, 'metadata.namespace') === LEASES ? null : `a node's lease is in the namespace ${LEASES}`),
  'mizar.com/droplets': (w) => isOwnName(w) ?? droplet(w),
  '/pods': pod,
};

/** Null = allowed, or not a matter of this rule. */
export function nodeMayWrite(plural: string, w: NodeWrite): string | null {
  return RULES[plural]?.(w) ?? null;
}

/** Throws the refusal as the Status that clients know. */
export function restrictNode(def: KindDefinition, who: Identity, verb: 'create' | 'update' | 'delete', object: JsonObject | null, live: JsonObject | null): void {
  const node = isMaster(who) ? null : nodeOf(who);
  if (node === null) return;
  const w: NodeWrite = { node, site: who.site ?? null, object, live };
  const why = nodeMayWrite(`${def.resource.group}/${def.resource.plural}`, w);
  const name = nameOf(w);
  if (why !== null) throw forbidden(who.name, verb, def.resource, typeof name === 'string' ? name : '', 'by a node', why);
}

function labelsOf(object: JsonObject | null): JsonObject {
  const labels = at(object ?? undefined, 'metadata.labels');
  return labels !== null && typeof labels === 'object' && !Array.isArray(labels) ? labels : {};
}

/** The site is where the planner puts applications: a node that moved itself would get another site's. */
function keptLabels(w: NodeWrite): string | null {
  if (w.object === null) return null;
  const [now, before] = [labelsOf(w.object), labelsOf(w.live)];
  const site = now[SITE_LABEL];
  if (w.site !== null && site !== undefined && site !== w.site) return `metadata.labels[${SITE_LABEL}]: the certificate is of site ${w.site}`;
  for (const label of new Set([...Object.keys(now), ...Object.keys(before)])) {
    if (label === SITE_LABEL || now[label] === before[label]) continue;
    if (KEPT_LABELS.some((prefix) => label.startsWith(prefix))) return `metadata.labels[${label}]: not a node's own to set`;
  }
  return null;
}

/** Taints and cordons are put on a node, not taken off by it. */
function keptSpec(w: NodeWrite): string | null {
  if (w.object === null || w.live === null) return null;
  const spec = (o: JsonObject): Json => o['spec'] ?? {};
  return isDeepStrictEqual(spec(w.object), spec(w.live)) ? null : 'spec: a node does not change its own taints and cordon';
}

function droplet(w: NodeWrite): string | null {
  for (const o of [w.live, w.object]) {
    if (o === null) continue;
    if (at(o, 'spec.node') !== w.node) return `spec.node: the droplet is not of node ${w.node}`;
    if (w.site !== null && at(o, 'spec.site') !== w.site) return `spec.site: the certificate is of site ${w.site}`;
  }
  return null;
}

/** Its status, the end of its life, and our own annotations that tell how it fares: nothing that says what it is. */
function pod(w: NodeWrite): string | null {
  if (w.live === null) return 'agents run pods, they do not make them';
  if (at(w.live, 'spec.nodeName') !== w.node) return `spec.nodeName: the pod is not bound to node ${w.node}`;
  if (w.object === null) return null;
  if (!isDeepStrictEqual(desire(w.object), desire(w.live))) return 'a node writes a pod\'s status and its own annotations';
  const changed = annotationsChanged(w.object, w.live).find((a) => !a.startsWith(ANNOTATIONS));
  return changed === undefined ? null : `metadata.annotations[${changed}]: not a node's own to set`;
}

function desire(object: JsonObject): Json {
  const { status: _, metadata, ...rest } = object;
  const { annotations: _a, resourceVersion: _r, generation: _g, ...meta } = metadata as JsonObject;
  return { ...rest, metadata: meta };
}

function annotationsChanged(a: JsonObject, b: JsonObject): string[] {
  const of = (o: JsonObject): JsonObject => (at(o, 'metadata.annotations') ?? {}) as JsonObject;
  const [x, y] = [of(a), of(b)];
  return [...new Set([...Object.keys(x), ...Object.keys(y)])].filter((k) => x[k] !== y[k]);
}
