/** Upstream's texts for what goes wrong with one object, as MeshErrors; `fields.reason` and `fields.details` feed the Status. */
import type { ResourceId } from '../../api/client.ts';
import type { Issue } from '../../api/definition.ts';
import { MeshError } from '../../api/errors.ts';
import { FENCED } from '../../api/lease-fence.ts';

const qualified = (r: ResourceId): string => (r.group === '' ? r.plural : `${r.plural}.${r.group}`);
const details = (r: ResourceId, name: string) => ({ name, group: r.group, kind: r.plural });

export function notFound(r: ResourceId, name: string): MeshError {
  return new MeshError('not-found', `${qualified(r)} "${name}" not found`, { fields: { details: details(r, name) } });
}

export function alreadyExists(r: ResourceId, name: string): MeshError {
  return new MeshError('already-exists', `${qualified(r)} "${name}" already exists`, { fields: { details: details(r, name) } });
}

export function conflict(r: ResourceId, name: string, why = 'the object has been modified; please apply your changes to the latest version and try again'): MeshError {
  return new MeshError('conflict', `Operation cannot be fulfilled on ${qualified(r)} "${name}": ${why}`, { fields: { details: details(r, name) } });
}

/** The writer's Lease is at a later epoch, or not there. */
export function fencedOff(r: ResourceId, name: string, why: string): MeshError {
  return new MeshError('conflict', `Operation cannot be fulfilled on ${qualified(r)} "${name}": fenced off: ${why}`, { fields: { cause: FENCED, details: { ...details(r, name), causes: [{ reason: FENCED, message: why, field: '' }] } } });
}

export function forbidden(who: string, verb: string, r: ResourceId, name: string, where: string, why: string): MeshError {
  const message = `${qualified(r)}${name === '' ? '' : ` "${name}"`} is forbidden: User "${who}" cannot ${verb} resource "${r.plural}" in API group "${r.group}" ${where}: ${why}`;
  return new MeshError('forbidden', message, { fields: { details: details(r, name) } });
}

/** A request that the schema or the kind's rules refuse: 422 Invalid, every issue listed, `fields.path` the first. */
export function invalid(r: ResourceId, name: string, issues: readonly Issue[]): MeshError {
  const text = issues.map((i) => `${i.path}: ${label(i)}${i.message}`);
  const list = text.length === 1 ? text[0] : `[${text.join(', ')}]`;
  const causes = issues.map((i) => ({ reason: CAUSE[i.reason], message: `${label(i)}${i.message}`, field: i.path }));
  const group = r.group === '' ? '' : `.${r.group}`;
  return new MeshError('invalid', `${r.kind}${group} "${name}" is invalid: ${list}`, {
    fields: { path: issues[0]?.path ?? '', reason: 'Invalid', details: { name, group: r.group, kind: r.kind, causes } },
  });
}

const CAUSE: Record<Issue['reason'], string> = { invalid: 'FieldValueInvalid', required: 'FieldValueRequired', forbidden: 'FieldValueForbidden', unknown: 'FieldValueInvalid', unsupported: 'FieldValueNotSupported' };

function label(i: Issue): string {
  switch (i.reason) {
    case 'required':
      return 'Required value: ';
    case 'forbidden':
      return 'Forbidden: ';
    case 'invalid':
      return 'Invalid value: ';
    default:
      return '';
  }
}

export function badRequest(message: string, path = ''): MeshError {
  return new MeshError('invalid', message, { fields: { path, reason: 'BadRequest' } });
}
