/** Deployments and replica sets. */
import type { Issue, JsonObject, KindDefinition } from '../definition.ts';
import { kindSchema } from '../kubernetes-types.ts';
import { pairs } from './core.ts';
import { ageColumn, column, define, get, issue, list, map, nameColumn, show } from './define.ts';
import { checkPodSpec, defaultPodSpec } from './pod.ts';

function checkWorkload(object: JsonObject): readonly Issue[] {
  const template = map(object, 'spec.template.metadata.labels');
  const selector = map(object, 'spec.selector.matchLabels');
  const issues = checkPodSpec(get(object, 'spec.template.spec'), 'spec.template.spec');
  if (Object.keys(selector).length === 0 && list(object, 'spec.selector.matchExpressions').length === 0) {
    issues.push(issue('spec.selector', 'empty selector is invalid for a workload'));
  } else if (Object.entries(selector).some(([k, v]) => template[k] !== v)) {
    issues.push(issue('spec.template.metadata.labels', `${JSON.stringify(template)}: \`selector\` does not match template \`labels\``));
  }
  const replicas = get(object, 'spec.replicas');
  if (typeof replicas === 'number' && replicas < 0) issues.push(issue('spec.replicas', `${replicas}: must be greater than or equal to 0`));
  return issues;
}

function defaultWorkload(object: JsonObject): JsonObject {
  const spec = map(object, 'spec');
  spec['replicas'] ??= 1;
  const template = map(spec, 'template');
  if (template['spec'] !== undefined) defaultPodSpec(map(template, 'spec'));
  return spec;
}

const containers = (o: JsonObject): string => show(list(o, 'spec.template.spec.containers').map((c) => show(get(c, 'name'))).join(','));
const images = (o: JsonObject): string => show(list(o, 'spec.template.spec.containers').map((c) => show(get(c, 'image'))).join(','));
const count = (path: string) => (o: JsonObject): number => Number(get(o, path) ?? 0);
const wide = [column('Containers', containers, { wide: true }), column('Images', images, { wide: true }), column('Selector', (o) => show(pairs(map(o, 'spec.selector.matchLabels'))), { wide: true })];

export const apps: readonly KindDefinition[] = [
  define('Deployment', {
    schema: kindSchema('apps.v1.Deployment', 'A deployment: so many pods of one template, changed step by step.'),
    shortNames: ['deploy'],
    categories: ['all'],
    hasScale: true,
    columns: [
      nameColumn,
      column('Ready', (o) => `${count('status.readyReplicas')(o)}/${count('spec.replicas')(o)}`),
      column('Up-to-date', count('status.updatedReplicas'), { type: 'integer' }),
      column('Available', count('status.availableReplicas'), { type: 'integer' }),
      ageColumn,
      ...wide,
    ],
    immutable: ['spec.selector'],
    defaults(object) {
      const spec = defaultWorkload(object);
      spec['revisionHistoryLimit'] ??= 10;
      spec['progressDeadlineSeconds'] ??= 600;
      const strategy = map(spec, 'strategy');
      strategy['type'] ??= 'RollingUpdate';
      if (strategy['type'] === 'RollingUpdate') strategy['rollingUpdate'] = { maxSurge: '25%', maxUnavailable: '25%', ...map(strategy, 'rollingUpdate') };
      else delete strategy['rollingUpdate'];
      spec['strategy'] = strategy;
    },
    check: checkWorkload,
  }),
  define('ReplicaSet', {
    schema: kindSchema('apps.v1.ReplicaSet', 'A replica set: so many pods of one template.'),
    shortNames: ['rs'],
    categories: ['all'],
    hasScale: true,
    columns: [nameColumn, column('Desired', count('spec.replicas'), { type: 'integer' }), column('Current', count('status.replicas'), { type: 'integer' }), column('Ready', count('status.readyReplicas'), { type: 'integer' }), ageColumn, ...wide],
    immutable: ['spec.selector'],
    defaults: (object) => void defaultWorkload(object),
    check: checkWorkload,
  }),
];
