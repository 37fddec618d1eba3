/** Files that people give to a verb: YAML or JSON, one document or several, `-` for standard input. Errors name the file. */
import { readFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import { parseAllDocuments } from 'yaml';
import { checkShape, DEFAULT_LIMITS } from '../api/decode.ts';
import { asText, type Json, type JsonObject } from '../api/definition.ts';
import { MeshError } from '../api/errors.ts';

async function read(file: string): Promise<string> {
  if (file === '-') return text(process.stdin);
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw new MeshError('missing-file', `cannot read ${file}: ${(cause as NodeJS.ErrnoException).code ?? (cause as Error).message}`, { cause, fields: { path: file } });
  }
}

function parse(file: string, content: string): Json[] {
  const documents = parseAllDocuments(content);
  if (!Array.isArray(documents)) return [];
  return documents.flatMap((d) => {
    const [error] = d.errors;
    if (error !== undefined) throw new MeshError('invalid', `${file} is not YAML: ${error.message}`, { cause: error, fields: { path: file } });
    const value = d.toJS({ maxAliasCount: 100 }) as Json;
    checkShape(value, DEFAULT_LIMITS);
    return value === null ? [] : [value];
  });
}

/** Every object of the files in their order; a `List` counts as its items. */
export async function documentsIn(files: readonly string[]): Promise<Json[]> {
  const found: Json[] = [];
  for (const file of files) {
    for (const value of parse(file, await read(file))) {
      const items = value !== null && typeof value === 'object' && !Array.isArray(value) && asText(value['kind']).endsWith('List') ? value['items'] : undefined;
      if (Array.isArray(items)) found.push(...items);
      else found.push(value);
    }
  }
  if (found.length === 0) throw new MeshError('invalid', `${files.join(', ')}: no object is in there`, { fields: { path: '-f' } });
  return found;
}

/** `traffic: { <application>: { <client region>: 120 | x2 } }` */
export async function trafficIn(file: string): Promise<JsonObject> {
  const [value, extra] = parse(file, await read(file));
  const wrong = (path: string, message: string): MeshError => new MeshError('invalid', `${file}: ${path}: ${message}`, { fields: { path }, next: 'write: traffic: { acme/default/web: { metro-a: x2 } }' });
  if (extra !== undefined) throw wrong('---', 'one document is expected');
  if (value === null || value === undefined || typeof value !== 'object' || Array.isArray(value)) throw wrong('traffic', 'is required');
  const other = Object.keys(value).find((k) => k !== 'traffic');
  if (other !== undefined) throw wrong(other, 'unknown key; "traffic" is the only one');
  const traffic = value['traffic'];
  if (traffic === null || traffic === undefined || typeof traffic !== 'object' || Array.isArray(traffic)) throw wrong('traffic', 'must be a map of applications');
  return traffic;
}
