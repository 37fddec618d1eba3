/** What the API library knows about one kind: schema, columns, defaults, cross-field checks. Adding a kind = adding one of these to `api/definitions.ts`. */
import type { ResourceId } from './client.ts';
import type { Schema } from './schema.ts';

/** A tree of JSON values that came from outside: the only place where shapes are not known. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

export interface Column {
  readonly name: string;
  readonly type: 'string' | 'integer' | 'date';
  /** 1 = only with `-o wide`. */
  readonly priority: 0 | 1;
  readonly description: string;
  readonly value: (object: JsonObject, now: number) => string | number;
}

/** A field that is wrong: its path in Kubernetes' notation and what was expected. */
export interface Issue {
  readonly path: string;
  readonly message: string;
  /** invalid: present but wrong; required: missing; forbidden: may not be set or changed here; unknown: no such field. */
  readonly reason: 'invalid' | 'required' | 'forbidden' | 'unknown' | 'unsupported';
}

export interface KindDefinition {
  readonly resource: ResourceId;
  readonly singular: string;
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
  readonly schema: Schema;
  /** Our own kinds refuse unknown fields always; Kubernetes' kinds do as the request's `fieldValidation` says. */
  readonly ours: boolean;
  /** `/status` is a resource of its own: writes to the main one leave the status alone. */
  readonly hasStatus: boolean;
  readonly hasScale: boolean;
  readonly columns: readonly Column[];
  /** Dotted paths that never change after creation. */
  readonly immutable: readonly string[];
  /** Field selectors beyond metadata.name and metadata.namespace. */
  readonly selectable: readonly string[];
  /** Fills in defaults, in place. `live` is null on creation. */
  readonly defaults: (object: JsonObject, live: JsonObject | null) => void;
  /** Rules across fields that a schema cannot say. */
  readonly check: (object: JsonObject, live: JsonObject | null) => readonly Issue[];
}

/** A value from outside as text; absent is ''. */
export const asText = (value: Json | undefined): string => (typeof value === 'string' ? value : value === undefined || value === null ? '' : JSON.stringify(value));
