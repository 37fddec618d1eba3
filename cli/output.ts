/** What a command prints: tables for people, `-o json|yaml` for programs, and the next useful command last. */
import Table from 'cli-table3';
import { stringify } from 'yaml';
import { MeshError } from '../api/errors.ts';

export type Format = 'table' | 'json' | 'yaml';

export function formatOf(value: string | undefined): Format {
  if (value === undefined || value === 'table') return 'table';
  if (value === 'json' || value === 'yaml') return value;
  throw new MeshError('invalid', `-o: "${value}" is not one of table, json, yaml`, { fields: { path: '-o' } });
}

export function table(head: readonly string[], rows: readonly (readonly (string | number | boolean | null)[])[]): string {
  const t = new Table({
    head: head.map((h) => h.toUpperCase()),
    chars: { top: '', 'top-mid': '', 'top-left': '', 'top-right': '', bottom: '', 'bottom-mid': '', 'bottom-left': '', 'bottom-right': '', left: '', 'left-mid': '', mid: '', 'mid-mid': '', right: '', 'right-mid': '', middle: '  ' },
    style: { 'padding-left': 0, 'padding-right': 0, head: [], border: [] },
  });
  for (const row of rows) t.push(row.map((c) => (c === null ? '-' : String(c))));
  return t
    .toString()
    .split('\n')
    .map((l) => l.trimEnd())
    .join('\n');
}

/** Prints `data` in the asked format; `rows` makes the table of it. */
export function print(format: Format, data: unknown, head: readonly string[], rows: readonly (readonly (string | number | boolean | null)[])[]): void {
  if (format === 'json') console.log(JSON.stringify(data, null, 2));
  else if (format === 'yaml') console.log(stringify(data).trimEnd());
  else console.log(table(head, rows));
}

export function next(format: Format, ...commands: readonly string[]): void {
  if (format !== 'table') return;
  for (const c of commands) console.log(`next: ${c}`);
}
