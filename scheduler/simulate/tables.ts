/** Comma-separated tables with names in the first row and column. */
import { MeshError } from '../../api/errors.ts';

export interface Table {
  readonly columns: readonly string[];
  readonly rows: readonly string[];
  /** NaN = a hole. */
  readonly values: readonly Float64Array[];
}

export function numberTable(text: string, source: string): Table {
  const lines = text.trim().split('\n').map((l) => l.trim().split(','));
  const columns = (lines[0] ?? []).slice(1);
  if (columns.length === 0 || lines.length < 2) throw new MeshError('invalid', `${source}: expected a table with a row of names and a column of names`, { fields: { path: source } });
  const values = lines.slice(1).map((cells, i) => {
    if (cells.length !== columns.length + 1) throw new MeshError('invalid', `${source}: line ${i + 2} has ${cells.length - 1} values, the first line names ${columns.length}`, { fields: { path: source } });
    return Float64Array.from(cells.slice(1), (c, k) => {
      const v = c === '' ? Number.NaN : Number(c);
      if (c !== '' && Number.isNaN(v)) throw new MeshError('invalid', `${source}: line ${i + 2}, column ${k + 2}: "${c}" is not a number`, { fields: { path: source } });
      return v;
    });
  });
  return { columns, rows: lines.slice(1).map((l) => l[0] ?? ''), values };
}
