/** The words of JSON Schema that both kinds (`schema.ts`) and configurations (`type.ts`) are written in. `S` is the schema that nests. */
export interface SchemaWords<S> {
  readonly properties?: Readonly<Record<string, S>>;
  readonly required?: readonly string[];
  readonly items?: S;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly pattern?: string;
}

const patterns = new Map<string, RegExp>();

/** Compiled once: each write of an object asks. */
export function patternOf(source: string): RegExp {
  const known = patterns.get(source) ?? new RegExp(source);
  patterns.set(source, known);
  return known;
}
