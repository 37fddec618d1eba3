/** Resource groups of VMs or containers, placed all together or not at all: the ancestor's way of asking the same planner. */
import { Type } from 'typebox';
import type { Issue, Json, JsonObject, KindDefinition } from '../definition.ts';
import { ageColumn, column, get, integer, issue, list, map, name, nameColumn, number, oneOf, ours, port, protocol, ref, show, text } from './define.ts';
import { checkPodSpec, defaultPodSpec } from './pod.ts';

const label = (description: string): ReturnType<typeof text> => text(description, { format: 'dns-label', minLength: 1, maxLength: 24 });
const quantity = (description: string): ReturnType<typeof text> => text(description, { pattern: '^(\\d+|\\d+\\.\\d+)(m|k|M|G|T|Ki|Mi|Gi|Ti)?$', maxLength: 32 });

const flavor = Type.Object({ name: Type.Optional(text('For people.', { maxLength: 63 })), cpu: quantity('Processors of one instance, such as 500m or 2.'), memory: quantity('Memory of one instance, such as 512Mi.') }, { description: 'One size.' });

const resource = Type.Object(
  {
    name: label('Unique in its group.'),
    template: ref('core.v1.PodTemplateSpec', 'The pod: containers, or one virtualMachine.'),
    flavors: Type.Optional(Type.Array(flavor, { description: 'Sizes in order of preference; the first with which everything fits is taken. Absent: what the template asks for.', minItems: 1, maxItems: 8 })),
    service: Type.Object({ port: port('Port at every site\'s front. No two applications have the same port and protocol.'), targetPort: Type.Optional(port('Port of an instance. Default: port.')), protocol: Type.Optional(protocol) }, { description: 'How clients reach it.' }),
    capacity: Type.Optional(number('Requests per second that one instance serves. Default 100.', 0.001)),
  },
  { description: 'One thing to run; becomes the Application <allocation>-<group>-<resource>.' },
);

const geoLocation = Type.Object(
  {
    country: Type.Optional(name('Label mesh.proxima.io/country of a Site.')),
    area: Type.Optional(name('Label mesh.proxima.io/area.')),
    province: Type.Optional(name('Label mesh.proxima.io/province.')),
    city: Type.Optional(name('Label mesh.proxima.io/city.')),
  },
  { description: 'Sites in this place; what is not given does not count.' },
);

const selector = Type.Object(
  {
    geoLocation: Type.Optional(geoLocation),
    regions: Type.Optional(
      Type.Array(
        Type.Object({ region: name('Name of a region.'), zones: Type.Optional(Type.Array(name('Label topology.kubernetes.io/zone of a Site, or its name where it has none.'), { description: 'Only these zones of it.', minItems: 1, maxItems: 1000 })) }, { description: 'One region.' }),
        { description: 'Sites of one of these regions.', minItems: 1, maxItems: 1000 },
      ),
    ),
    operator: Type.Optional(name('Sites of this operator: label mesh.proxima.io/operator.')),
  },
  { description: 'Which sites may be used; a site must fit everything that is given. Absent: every site.' },
);

const spec = Type.Object({
  vpc: name('The VPC of the tenant in which the instances have their addresses.'),
  resourceGroups: Type.Array(Type.Object({ name: label('Unique in the allocation.'), resources: Type.Array(resource, { description: 'What the group consists of.', minItems: 1, maxItems: 20 }) }, { description: 'One group.' }), { description: 'Placed all together or not at all.', minItems: 1, maxItems: 20 }),
  selector: Type.Optional(selector),
  strategy: Type.Optional(Type.Unsafe<string>({ type: 'string', enum: ['centralize', 'discrete'], default: 'centralize', description: 'centralize: everything of one group at one site. discrete: the instances of a resource at as many different sites as there are replicas. Default centralize.' })),
  replicas: Type.Optional(Type.Integer({ description: 'Instances of every resource. Default 1.', minimum: 1, maximum: 1000, default: 1 })),
  placeWithinSeconds: Type.Optional(Type.Number({ description: 'When not everything is ready after so many seconds, all of it is taken back. Default 300.', minimum: 1, maximum: 86_400, default: 300 })),
  retry: Type.Optional(Type.Unsafe<string>({ type: 'string', enum: ['always', 'never'], default: 'always', description: 'always: one that failed is tried again, after 10 s and after longer and longer pauses of up to a minute, until it is placed or deleted. never: the first failure is final. Default always.' })),
});

const phase = oneOf(['Pending', 'Placing', 'Placed', 'RollingBack', 'Failed'], 'Pending: not looked at yet. Placing: it fits, and is being started. Placed: all of it is ready. RollingBack: not all of it became ready; what was started is removed. Failed: nothing of it is there; message says what binds, retryAt when it is tried again.');
const resourceStatus = Type.Object(
  { name: name('Resource.'), application: name('Its Application.'), flavor: Type.Optional(integer('Index of the flavor that was taken.', 0)), wanted: integer('Instances asked for.', 0), ready: integer('Instances ready.', 0), sites: Type.Array(name('Site.'), { description: 'Where it is.' }) },
  { description: 'One resource.' },
);
const groupStatus = Type.Object(
  { name: name('Group.'), phase, site: Type.Optional(name('centralize: the one site of the group.')), message: Type.Optional(text('What binds.')), resources: Type.Array(resourceStatus, { description: 'By resource.' }) },
  { description: 'One group.' },
);
const status = Type.Object({
  phase: Type.Optional(phase),
  message: Type.Optional(text('What was done, or the constraint that binds.')),
  startedAt: Type.Optional(text('When placing began.', { format: 'date-time' })),
  attempts: Type.Optional(integer('How often it was tried.', 0)),
  retryAt: Type.Optional(text('Failed: when it is tried again.', { format: 'date-time' })),
  groups: Type.Optional(Type.Array(groupStatus, { description: 'By group.' })),
});

function check(o: JsonObject): readonly Issue[] {
  const issues: Issue[] = [];
  const once = (seen: Set<string>, key: string, path: string, what: string): void => {
    if (seen.has(key)) issues.push({ path, message: `Duplicate value: ${what}`, reason: 'unsupported' });
    seen.add(key);
  };
  const [groups, ports] = [new Set<string>(), new Set<string>()];
  for (const [g, group] of list(o, 'spec.resourceGroups').entries()) {
    const path = `spec.resourceGroups[${g}]`;
    once(groups, show(get(group, 'name')), `${path}.name`, `"${show(get(group, 'name'))}"`);
    const names = new Set<string>();
    for (const [r, one] of list(group, 'resources').entries()) {
      const at = `${path}.resources[${r}]`;
      once(names, show(get(one, 'name')), `${at}.name`, `"${show(get(one, 'name'))}"`);
      once(ports, `${show(get(one, 'service.port'))}/${show(get(one, 'service.protocol'))}`, `${at}.service.port`, 'another resource has this port and protocol');
      issues.push(...checkPodSpec(get(one, 'template.spec'), `${at}.template.spec`));
      if (get(one, 'template.spec.nodeName') !== undefined) issues.push(issue(`${at}.template.spec.nodeName`, 'the schedulers choose the node', 'forbidden'));
    }
  }
  return issues;
}

function defaults(o: JsonObject): void {
  for (const one of list(o, 'spec.resourceGroups').flatMap((g) => list(g, 'resources'))) {
    const pod = get(one, 'template.spec');
    if (pod !== null && typeof pod === 'object' && !Array.isArray(pod)) defaultPodSpec(pod);
    const service = map(one, 'service');
    service['protocol'] ??= 'TCP';
    if (service['port'] !== undefined) service['targetPort'] ??= service['port'];
  }
}

const resources = (o: JsonObject): readonly Json[] => list(o, 'status.groups').flatMap((g) => list(g, 'resources'));
const total = (o: JsonObject, field: string): number => resources(o).reduce<number>((n, r) => n + Number(get(r, field) ?? 0), 0);

export const allocation: KindDefinition = ours('Allocation', 'Resource groups that are placed all together or not at all, by the planner that places Applications.', spec, status, {
  shortNames: ['alloc'],
  categories: ['all'],
  columns: [
    nameColumn,
    column('Groups', (o) => list(o, 'spec.resourceGroups').length, { type: 'integer' }),
    column('Strategy', 'spec.strategy'),
    column('Phase', (o) => show(get(o, 'status.phase')) || 'Pending'),
    column('Ready', (o) => `${total(o, 'ready')}/${total(o, 'wanted')}`),
    column('Sites', (o) => show([...new Set(resources(o).flatMap((r) => list(r, 'sites').map(show)))].sort().join(','))),
    column('Message', (o) => show(get(o, 'status.message')).replace(/^(.{119}).{2,}$/, '$1…')),
    ageColumn,
  ],
  immutable: ['spec'],
  defaults,
  check,
});
