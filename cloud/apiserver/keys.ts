/** Where objects are in the store: /registry/<group>/<plural>/[<tenant>/[<namespace>/]]<name>. */
import type { ResourceId } from '../../api/client.ts';

export interface Address {
  readonly tenant: string | null;
  readonly namespace: string | null;
  readonly name: string;
}

const roots = new Map<ResourceId, string>();

function root(r: ResourceId): string {
  let known = roots.get(r);
  if (known === undefined) {
    known = `/registry/${r.group === '' ? 'core' : r.group}/${r.plural}/`;
    roots.set(r, known);
  }
  return known;
}

export function keyOf(r: ResourceId, a: Address): string {
  switch (r.scope) {
    case 'cluster':
      return `${root(r)}${a.name}`;
    case 'tenant':
      return `${root(r)}${a.tenant}/${a.name}`;
    case 'namespace':
      return `${root(r)}${a.tenant}/${a.namespace}/${a.name}`;
  }
}

/** The longest prefix that holds everything asked for; `matches` below drops what it holds besides. */
export function prefixOf(r: ResourceId, tenant: string | null, namespace: string | null): string {
  if (r.scope === 'cluster' || tenant === null || tenant === 'all') return root(r);
  if (r.scope === 'tenant' || namespace === null) return `${root(r)}${tenant}/`;
  return `${root(r)}${tenant}/${namespace}/`;
}

export function addressOf(r: ResourceId, key: string): Address {
  const last = key.lastIndexOf('/');
  const name = key.slice(last + 1);
  const from = root(r).length;
  if (r.scope === 'cluster') return { tenant: null, namespace: null, name };
  if (r.scope === 'tenant') return { tenant: key.slice(from, last), namespace: null, name };
  const middle = key.indexOf('/', from);
  return { tenant: key.slice(from, middle), namespace: key.slice(middle + 1, last), name };
}
