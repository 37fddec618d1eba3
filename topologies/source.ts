/** A parsed file that knows on which line each field stands, and the shape checks that use it. */
import { isMap, isNode, isPair, isScalar, LineCounter, parseDocument, type Document } from 'yaml';
import { MeshError } from '../api/errors.ts';

export type Dict = Readonly<Record<string, unknown>>;
export type Path = readonly (string | number)[];

export class Source {
  readonly file: string;
  readonly #document: Document;
  readonly #lines: LineCounter;

  constructor(file: string, text: string) {
    this.file = file;
    this.#lines = new LineCounter();
    this.#document = parseDocument(text, { lineCounter: this.#lines });
    const [broken] = this.#document.errors;
    if (broken !== undefined) throw new MeshError('invalid', `${file}:${this.#lines.linePos(broken.pos[0]).line}: ${broken.message.split('\n')[0]}`, { fields: { file } });
  }

  value(): unknown {
    return this.#document.toJS();
  }

  fail(path: Path, expected: string): never {
    let at = '';
    for (let n = path.length; n >= 0 && at === ''; n--) {
      const node = n === 0 ? this.#document.contents : this.#document.getIn(path.slice(0, n), true);
      const offset = this.#keyOffset(path.slice(0, n)) ?? (isNode(node) ? node.range?.[0] : undefined);
      if (offset !== undefined) at = `:${this.#lines.linePos(offset).line}`;
    }
    const field = path.join('.');
    throw new MeshError('invalid', `${this.file}${at}: ${field === '' ? '' : `${field}: `}${expected}`, { fields: { file: this.file, path: field } });
  }

  #keyOffset(path: Path): number | undefined {
    const parent = path.length <= 1 ? this.#document.contents : this.#document.getIn(path.slice(0, -1), true);
    if (!isMap(parent)) return undefined;
    const pair = parent.items.find((p) => isPair(p) && isScalar(p.key) && p.key.value === path.at(-1));
    return pair !== undefined && isScalar(pair.key) ? pair.key.range?.[0] : undefined;
  }

  dict(path: Path, value: unknown): Dict {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) this.fail(path, 'expected a map');
    return value as Dict;
  }

  list(path: Path, value: unknown): readonly unknown[] {
    if (!Array.isArray(value)) this.fail(path, 'expected a list');
    return value as unknown[];
  }

  onlyKnown(path: Path, value: Dict, known: ReadonlySet<string>): void {
    const unknown = Object.keys(value).find((k) => !known.has(k));
    if (unknown !== undefined) this.fail([...path, unknown], `unknown key; expected one of ${[...known].join(', ')}`);
  }
}
