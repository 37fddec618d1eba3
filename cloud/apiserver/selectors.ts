/** Label and field selectors, compiled to one test per stored entry. Names are read from the key, anything else needs the parsed object. */
import type { JsonObject, KindDefinition } from '../../api/definition.ts';
import { MeshError } from '../../api/errors.ts';
import { at, mentions, peek } from './bytes.ts';
import type { Address } from './keys.ts';

export interface Selector {
  /** True when every entry under the prefix passes without being parsed. */
  readonly all: boolean;
  readonly matches: (address: Address, bytes: Uint8Array) => boolean;
}

type FieldTest = { readonly path: string; readonly value: string; readonly equal: boolean };
type LabelTest = (labels: JsonObject) => boolean;

export function compile(def: KindDefinition, labelSelector: string, fieldSelector: string, namespace: string | null): Selector {
  const labels = labelSelector === '' ? [] : parseLabels(labelSelector);
  const fields = fieldSelector === '' ? [] : parseFields(def, fieldSelector);
  if (namespace !== null && def.resource.scope === 'namespace') fields.push({ path: 'metadata.namespace', value: namespace, equal: true });
  const byKey = fields.filter((f) => f.path === 'metadata.name' || f.path === 'metadata.namespace');
  const byObject = fields.filter((f) => !byKey.includes(f));
  const keyTest = (a: Address): boolean => byKey.every((f) => ((f.path === 'metadata.name' ? a.name : (a.namespace ?? '')) === f.value) === f.equal);
  if (labels.length === 0 && byObject.length === 0) return { all: byKey.length === 0, matches: keyTest };
  // `spec.nodeName=n1` can only hold where the bytes say "n1": every agent watches all pods, few are its own.
  const words = byObject.filter((f) => f.equal && f.value !== '' && f.path !== 'spec.unschedulable').map((f) => Buffer.from(JSON.stringify(f.value)));
  return {
    all: false,
    matches(address, bytes) {
      if (!keyTest(address) || !words.every((w) => mentions(bytes, w))) return false;
      const object = peek(bytes);
      if (!byObject.every((f) => (text(object, f.path) === f.value) === f.equal)) return false;
      const own = (at(object, 'metadata.labels') ?? {}) as JsonObject;
      return labels.every((test) => test(own));
    },
  };
}

/** Fields whose empty form is not '' are named with it. */
function text(object: JsonObject, path: string): string {
  const value = at(object, path);
  if (value === undefined || value === null) return path === 'spec.unschedulable' ? 'false' : '';
  return typeof value === 'object' ? '' : String(value);
}

function parseFields(def: KindDefinition, selector: string): FieldTest[] {
  return selector.split(',').map((term) => {
    const match = /^([^=!]+)(==|=|!=)(.*)$/.exec(term.trim());
    if (match === null) throw new MeshError('invalid', `invalid field selector: "${selector}"; can't understand '${term}'`);
    const path = match[1] ?? '';
    if (path !== 'metadata.name' && path !== 'metadata.namespace' && !def.selectable.includes(path)) {
      throw new MeshError('invalid', `field label not supported: ${path}`, { fields: { path: 'fieldSelector', reason: 'BadRequest' } });
    }
    return { path, value: match[3] ?? '', equal: match[2] !== '!=' };
  });
}

/** equality (`a=b`, `a!=b`), set (`a in (x,y)`, `a notin (x)`) and existence (`a`, `!a`) terms. */
export function parseLabels(selector: string): LabelTest[] {
  const terms = selector.match(/[^,(]+(\([^)]*\))?/g) ?? [];
  return terms.map((raw) => {
    const term = raw.trim();
    const set = /^(\S+)\s+(in|notin)\s*\(([^)]*)\)$/.exec(term);
    if (set !== null) {
      const key = set[1] ?? '';
      const values = (set[3] ?? '').split(',').map((v) => v.trim());
      return set[2] === 'in' ? (l) => typeof l[key] === 'string' && values.includes(l[key]) : (l) => typeof l[key] !== 'string' || !values.includes(l[key]);
    }
    const equality = /^([^\s=!]+)\s*(==|=|!=)\s*([^\s=!]*)$/.exec(term);
    if (equality !== null) {
      const [, key = '', operator, value = ''] = equality;
      return operator === '!=' ? (l) => l[key] !== value : (l) => l[key] === value;
    }
    if (/^!\s*[^\s=!]+$/.test(term)) return (l) => l[term.slice(1).trim()] === undefined;
    if (/^[^\s=!()]+$/.test(term)) return (l) => l[term] !== undefined;
    throw new MeshError('invalid', `unable to parse requirement: "${term}" in selector "${selector}"`);
  });
}
