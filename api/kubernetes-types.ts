/**
 * Kubernetes' own types, from the one field table: as schemas (validation, OpenAPI, patch merge keys) and as protobuf fields. Arktos' and our
 * additions to them stand here too, so that a VM pod is no unknown field anywhere.
 */
import { KUBERNETES_FIELDS } from './gen/kubernetes-fields.ts';
import type { Schema } from './schema.ts';

export interface Field {
  readonly name: string;
  readonly number: number;
  /** `s`, `i`, `b`, `d`, `y` or the full name of a type. */
  readonly type: string;
  readonly shape: 'one' | 'list' | 'map';
  readonly isInline: boolean;
  readonly isPointer: boolean;
  readonly isAlways: boolean;
  readonly isRequired: boolean;
  readonly strategy: string;
  readonly mergeKey: string;
}

const FIELD = /^([\w$]+)=(\d+)(?::([\w.]+)|(\w))(\*|\{\})?(@)?(\?)?(!)?(\+)?(?:~(\w+))?(?:\^(\w+))?$/;
const STRATEGY: Readonly<Record<string, string>> = { m: 'merge', r: 'retainKeys', mr: 'merge,retainKeys' };

let table: Map<string, readonly Field[]> | null = null;

function fieldsTable(): Map<string, readonly Field[]> {
  if (table !== null) return table;
  table = new Map();
  for (const line of KUBERNETES_FIELDS.trim().split('\n')) {
    const [name = '', ...fields] = line.split(' ');
    const home = name.split('.').slice(0, 2).join('.');
    table.set(name, fields.filter((f) => f !== '').map((f) => parseField(f, home)));
  }
  return table;
}

function parseField(text: string, home: string): Field {
  const m = FIELD.exec(text);
  if (m === null) throw new Error(`the Kubernetes field table is broken at "${text}"`);
  const [, name = '', number = '', type, scalar = '', shape, inline, pointer, always, required, strategy = '', mergeKey = ''] = m;
  return {
    name,
    number: Number(number),
    type: type === undefined ? scalar : type.startsWith('.') ? `${home}${type}` : type,
    shape: shape === '*' ? 'list' : shape === '{}' ? 'map' : 'one',
    isInline: inline !== undefined,
    isPointer: pointer !== undefined,
    isAlways: always !== undefined,
    isRequired: required !== undefined,
    strategy: STRATEGY[strategy] ?? '',
    mergeKey,
  };
}

/** null = not a type that we know. */
export function fieldsOf(type: string): readonly Field[] | null {
  return fieldsTable().get(type) ?? null;
}

const QUANTITY: Schema = { 'x-kubernetes-int-or-string': true, format: 'quantity', description: 'An amount such as 500m or 64Mi.' };
const SPECIAL: Readonly<Record<string, Schema>> = {
  s: { type: 'string' },
  i: { type: 'integer' },
  b: { type: 'boolean' },
  d: { type: 'number' },
  y: { type: 'string', format: 'byte' },
  'resource.Quantity': QUANTITY,
  'intstr.IntOrString': { 'x-kubernetes-int-or-string': true },
  'meta.v1.Time': { type: 'string', format: 'date-time' },
  'meta.v1.MicroTime': { type: 'string', format: 'date-time' },
  'meta.v1.Duration': { type: 'string' },
  'meta.v1.FieldsV1': { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
  'runtime.RawExtension': { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
};

const amounts: Schema = { type: 'object', additionalProperties: QUANTITY };

/** What Arktos and Proxima add to Kubernetes' types. */
const ADDED: Readonly<Record<string, Readonly<Record<string, Schema>>>> = {
  'meta.v1.ObjectMeta': { tenant: { type: 'string', description: 'The tenant that the object belongs to.' } },
  'core.v1.PodSpec': {
    vpc: { type: 'string', description: 'The VPC in which the pod has its endpoint.' },
    virtualMachine: {
      type: 'object',
      description: 'The pod is this virtual machine instead of containers.',
      required: ['name', 'image'],
      properties: {
        name: { type: 'string', format: 'dns-label' },
        image: { type: 'string', minLength: 1, description: 'Name of a VM image on the node.' },
        resources: { type: 'object', properties: { requests: amounts, limits: amounts } },
        powerSpec: { type: 'string', enum: ['Running', 'Paused', 'Shutdown', 'Suspended'] },
        publicKey: { type: 'string' },
        keyPairName: { type: 'string' },
        userData: { type: 'string' },
        readinessProbe: { $ref: 'core.v1.Probe' },
      },
    },
  },
  'core.v1.PodStatus': {
    virtualMachineStatus: {
      type: 'object',
      properties: { name: { type: 'string' }, state: { type: 'string' }, powerState: { type: 'string' }, ready: { type: 'boolean' }, restartCount: { type: 'integer' } },
    },
  },
};

/** Upstream says required; a VM pod has none until the server fills one in, so the pod's own rules ask for it instead. */
const NOT_REQUIRED = new Set(['core.v1.PodSpec.containers']);

const schemas = new Map<string, Schema>();

export function resolveType(type: string): Schema {
  const known = SPECIAL[type] ?? schemas.get(type);
  if (known !== undefined) return known;
  const fields = fieldsOf(type);
  if (fields === null) throw new Error(`no such type: ${type}`);
  const properties: Record<string, Schema> = {};
  const required: string[] = [];
  for (const f of fields) {
    if (f.isInline) Object.assign(properties, resolveType(f.type).properties);
    else properties[f.name] = schemaOf(f);
    if (f.isRequired && !NOT_REQUIRED.has(`${type}.${f.name}`)) required.push(f.name);
  }
  const schema: Schema = { type: 'object', properties: { ...properties, ...ADDED[type] }, ...(required.length === 0 ? {} : { required }) };
  schemas.set(type, schema);
  return schema;
}

function schemaOf(f: Field): Schema {
  const one = SPECIAL[f.type] ?? { $ref: f.type };
  const patch = {
    ...(f.strategy === '' ? {} : { 'x-kubernetes-patch-strategy': f.strategy }),
    ...(f.mergeKey === '' ? {} : { 'x-kubernetes-patch-merge-key': f.mergeKey }),
  };
  switch (f.shape) {
    case 'one':
      return { ...one, ...patch };
    case 'list':
      return { type: 'array', items: one, ...patch };
    case 'map':
      return { type: 'object', additionalProperties: one, ...patch };
  }
}

const TYPE_META = { apiVersion: { type: 'string' }, kind: { type: 'string' } } as const;

/** The schema of a whole object of one of Kubernetes' kinds. */
export function kindSchema(type: string, description: string): Schema {
  const schema = resolveType(type);
  return { ...schema, description, properties: { ...TYPE_META, ...schema.properties } };
}

/** `core.v1.Pod` → `io.k8s.api.core.v1.Pod`, as OpenAPI documents name it. */
export function openApiName(type: string): string {
  return type.startsWith('meta.') ? `io.k8s.apimachinery.pkg.apis.${type}` : `io.k8s.api.${type}`;
}
