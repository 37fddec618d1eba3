/** Pods and the templates of pods: defaults, what may change, how they are listed. A VM pod shows stock kubectl one container, the VM's stand-in. */
import { isDeepStrictEqual } from 'node:util';
import type { Issue, Json, JsonObject } from '../definition.ts';
import { asText } from '../definition.ts';
import { ageColumn, column, get, issue, list, map, nameColumn, show } from './define.ts';

const CONTAINER_DEFAULTS = { terminationMessagePath: '/dev/termination-log', terminationMessagePolicy: 'File' } as const;
const PROBE_DEFAULTS = { timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3 } as const;

/** Protocol defaults that clients rely on, in a pod's spec or a template's. */
export function defaultPodSpec(spec: JsonObject): void {
  projectVm(spec);
  for (const [key, value] of Object.entries({ restartPolicy: 'Always', dnsPolicy: 'ClusterFirst', schedulerName: 'default-scheduler', terminationGracePeriodSeconds: 30 })) spec[key] ??= value;
  spec['securityContext'] ??= {};
  for (const container of [...list(spec, 'containers'), ...list(spec, 'initContainers')]) if (isObject(container)) defaultContainer(container);
  const probe = get(spec, 'virtualMachine.readinessProbe');
  if (isObject(probe)) defaultProbe(probe);
  if (isObject(spec['virtualMachine'])) spec['virtualMachine']['powerSpec'] ??= 'Running';
}

/** kubectl's logs, exec and describe need a container; it follows the VM's name and image. */
function projectVm(spec: JsonObject): void {
  const vm = spec['virtualMachine'];
  if (!isObject(vm)) return;
  const first = list(spec, 'containers')[0];
  spec['containers'] = [{ ...(isObject(first) ? first : {}), name: vm['name'] ?? '', image: vm['image'] ?? '' }];
}

const isObject = (v: Json | undefined): v is JsonObject => v !== null && typeof v === 'object' && !Array.isArray(v);

function defaultContainer(c: JsonObject): void {
  for (const [key, value] of Object.entries(CONTAINER_DEFAULTS)) c[key] ??= value;
  const image = asText(c['image']);
  c['imagePullPolicy'] ??= image.endsWith(':latest') || !/[:@]/.test(image.slice(image.lastIndexOf('/') + 1)) ? 'Always' : 'IfNotPresent';
  c['resources'] ??= {};
  for (const p of list(c, 'ports')) if (isObject(p)) p['protocol'] ??= 'TCP';
  for (const probe of ['livenessProbe', 'readinessProbe', 'startupProbe']) if (isObject(c[probe])) defaultProbe(c[probe]);
}

function defaultProbe(probe: JsonObject): void {
  for (const [key, value] of Object.entries(PROBE_DEFAULTS)) probe[key] ??= value;
  if (isObject(probe['httpGet'])) {
    probe['httpGet']['path'] ??= '/';
    probe['httpGet']['scheme'] ??= 'HTTP';
  }
}

export function defaultPod(object: JsonObject, live: JsonObject | null): void {
  const spec = object['spec'];
  if (!isObject(spec)) return;
  defaultPodSpec(spec);
  if (live === null) object['status'] = { phase: 'Pending', ...map(object, 'status') };
}

export function checkPodSpec(spec: Json | undefined, path: string): Issue[] {
  const issues: Issue[] = [];
  const containers = list(spec, 'containers');
  if (containers.length === 0) issues.push(issue(`${path}.containers`, 'a pod has containers or a virtualMachine', 'required'));
  if (get(spec, 'virtualMachine') !== undefined && containers.length > 1) issues.push(issue(`${path}.containers`, 'a VM pod has no containers of its own', 'forbidden'));
  const names = new Set<string>();
  for (const [i, c] of containers.entries()) {
    const own = asText(get(c, 'name'));
    if (!/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/.test(own) || own.length > 63) issues.push(issue(`${path}.containers[${i}].name`, `"${own}": lower case letters, digits and "-", at most 63 characters`));
    if (names.has(own)) issues.push({ path: `${path}.containers[${i}].name`, message: `Duplicate value: "${own}"`, reason: 'unsupported' });
    names.add(own);
    if (asText(get(c, 'image')) === '') issues.push(issue(`${path}.containers[${i}].image`, 'names the image', 'required'));
    for (const [j, p] of list(c, 'ports').entries()) {
      const n = get(p, 'containerPort');
      if (typeof n !== 'number' || n < 1 || n > 65535) issues.push(issue(`${path}.containers[${i}].ports[${j}].containerPort`, `${show(n)}: must be between 1 and 65535`));
    }
  }
  return issues;
}

/** What of a pod's spec may change: images, the VM's power, deadlines, tolerations, and the node from none to one. */
export function checkPod(object: JsonObject, live: JsonObject | null): readonly Issue[] {
  const issues = checkPodSpec(object['spec'], 'spec');
  if (live === null || issues.length > 0) return issues;
  const fixed = (o: JsonObject): JsonObject => {
    const spec = structuredClone(map(o, 'spec'));
    for (const key of ['activeDeadlineSeconds', 'terminationGracePeriodSeconds', 'tolerations']) delete spec[key];
    for (const c of [...list(spec, 'containers'), ...list(spec, 'initContainers')]) if (isObject(c)) for (const key of ['image', 'imagePullPolicy']) delete c[key];
    if (isObject(spec['virtualMachine'])) for (const key of ['image', 'powerSpec']) delete spec['virtualMachine'][key];
    if ((get(live, 'spec.nodeName') ?? '') === '') delete spec['nodeName'];
    return spec;
  };
  if (isDeepStrictEqual(fixed(object), fixed(live))) return [];
  return [issue('spec', 'pod updates may not change fields other than `spec.containers[*].image`, `spec.virtualMachine.image`, `spec.virtualMachine.powerSpec`, `spec.activeDeadlineSeconds`, `spec.terminationGracePeriodSeconds` or `spec.tolerations`', 'forbidden')];
}

export function defaultService(object: JsonObject): void {
  const spec = object['spec'];
  if (!isObject(spec)) return;
  spec['type'] ??= 'ClusterIP';
  spec['sessionAffinity'] ??= 'None';
  for (const p of list(spec, 'ports')) {
    if (!isObject(p)) continue;
    p['protocol'] ??= 'TCP';
    p['targetPort'] ??= p['port'] ?? 0;
  }
}

function podStatus(o: JsonObject): string {
  if (get(o, 'metadata.deletionTimestamp') !== undefined) return 'Terminating';
  for (const c of list(o, 'status.containerStatuses')) {
    const reason = get(c, 'state.waiting.reason') ?? get(c, 'state.terminated.reason');
    if (typeof reason === 'string' && reason !== '') return reason;
  }
  return show(get(o, 'status.reason') ?? get(o, 'status.phase'));
}

function readiness(o: JsonObject): string {
  const statuses = list(o, 'status.containerStatuses');
  const vm = get(o, 'status.virtualMachineStatus.ready') === true && statuses.length === 0 ? 1 : 0;
  return `${statuses.filter((c) => get(c, 'ready') === true).length + vm}/${list(o, 'spec.containers').length}`;
}

function restarts(o: JsonObject): string {
  const vm = get(o, 'status.virtualMachineStatus.restartCount');
  const count = list(o, 'status.containerStatuses').reduce<number>((n, c) => n + Number(get(c, 'restartCount') ?? 0), 0);
  return asText(count > 0 ? count : (vm ?? 0));
}

export const podColumns = [
  nameColumn,
  column('Ready', readiness, { description: 'Containers that are ready of those in the pod.' }),
  column('Status', podStatus, { description: 'What the pod does.' }),
  column('Restarts', restarts, { description: 'How often its containers or its VM were restarted.' }),
  ageColumn,
  column('IP', 'status.podIP', { wide: true }),
  column('Node', 'spec.nodeName', { wide: true }),
  column('Kind', (o) => (get(o, 'spec.virtualMachine') === undefined ? 'container' : 'vm'), { wide: true }),
  column('VPC', 'spec.vpc', { wide: true }),
];

