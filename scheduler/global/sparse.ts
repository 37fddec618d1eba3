/**
 * Bookkeeping for millions of rows in a bounded, known amount of memory: names become small numbers, a pair of numbers becomes a row, and
 * a row's values lie in typed arrays. Nothing here is an object per row.
 */

/** Names to small numbers and back. A name that nobody holds any more gives its number to the next one. */
export class Names {
  readonly #ids = new Map<string, number>();
  readonly #names: string[] = [];
  readonly #held: number[] = [];
  readonly #free: number[] = [];
  readonly #max: number;

  constructor(max: number) {
    this.#max = max;
  }

  /** -1 = never seen. */
  find(name: string): number {
    return this.#ids.get(name) ?? -1;
  }

  /** -1 = there are as many as may be. Whoever keeps the number holds it. */
  add(name: string): number {
    const known = this.#ids.get(name);
    if (known !== undefined) return known;
    if (this.#ids.size >= this.#max) return -1;
    const id = this.#free.pop() ?? this.#names.length;
    this.#names[id] = name;
    this.#held[id] = 0;
    this.#ids.set(name, id);
    return id;
  }

  name(id: number): string {
    return this.#names[id] ?? '';
  }

  /** Gives up a number that nobody holds. */
  drop(id: number): void {
    if (id < 0 || (this.#held[id] ?? 0) > 0 || this.#names[id] === '') return;
    this.#ids.delete(this.name(id));
    this.#names[id] = '';
    this.#free.push(id);
  }

  hold(id: number): void {
    this.#held[id] = (this.#held[id] ?? 0) + 1;
  }

  release(id: number): void {
    this.#held[id] = (this.#held[id] ?? 0) - 1;
    this.drop(id);
  }

  get size(): number {
    return this.#ids.size;
  }
}

type Typed = Float64Array | Float32Array | Int32Array;

/** Rows come in chunks: growing never copies what is there. */
const CHUNK = 1 << 14;

/** `width` values a row. */
export class Column<T extends Typed> {
  readonly #make: new (length: number) => T;
  readonly #width: number;
  readonly #chunks: T[] = [];

  constructor(make: new (length: number) => T, width = 1) {
    this.#make = make;
    this.#width = width;
  }

  get(row: number, i = 0): number {
    return (this.#chunks[row >> 14] as T)[(row & (CHUNK - 1)) * this.#width + i] as number;
  }

  set(row: number, value: number, i = 0): void {
    (this.#chunks[row >> 14] as T)[(row & (CHUNK - 1)) * this.#width + i] = value;
  }

  /** A new row: all zero. */
  clear(row: number): void {
    this.#chunks[row >> 14] ??= new this.#make(CHUNK * this.#width);
    (this.#chunks[row >> 14] as T).fill(0, (row & (CHUNK - 1)) * this.#width, ((row & (CHUNK - 1)) + 1) * this.#width);
  }
}

const hash = (a: number, b: number): number => {
  let h = Math.imul(a, 0x9e37_79b1) ^ Math.imul(b, 0x85eb_ca6b);
  h ^= h >>> 15;
  h = Math.imul(h, 0x2c1b_3c6d);
  return (h ^ (h >>> 13)) >>> 0;
};

/** (a, b), both 32 bits, to a row of the columns. Open addressing; removing shifts back, so nothing slows down with age. */
export class SparseTable {
  readonly #a = new Column(Int32Array);
  readonly #b = new Column(Int32Array);
  readonly #columns: readonly Column<Typed>[];
  readonly #free: number[] = [];
  /** row + 1; 0 = empty */
  #slots = new Int32Array(1024);
  #rows = 0;
  #size = 0;

  constructor(columns: readonly Column<Typed>[]) {
    this.#columns = columns;
  }

  get size(): number {
    return this.#size;
  }

  /** Rows are numbered below this; some of them may be unused. */
  get end(): number {
    return this.#rows;
  }

  a(row: number): number {
    return this.#a.get(row);
  }

  b(row: number): number {
    return this.#b.get(row);
  }

  isUsed(row: number): boolean {
    return row < this.#rows && this.find(this.a(row), this.b(row)) === row;
  }

  find(a: number, b: number): number {
    const mask = this.#slots.length - 1;
    for (let i = hash(a, b) & mask; ; i = (i + 1) & mask) {
      const row = (this.#slots[i] as number) - 1;
      if (row < 0) return -1;
      if (this.a(row) === a && this.b(row) === b) return row;
    }
  }

  /** The pair must not be there. */
  add(a: number, b: number): number {
    if ((this.#size + 1) * 2 > this.#slots.length) this.#grow();
    const row = this.#free.pop() ?? this.#rows++;
    for (const c of [this.#a, this.#b, ...this.#columns]) c.clear(row);
    this.#a.set(row, a);
    this.#b.set(row, b);
    this.#place(row);
    this.#size += 1;
    return row;
  }

  remove(row: number): void {
    const mask = this.#slots.length - 1;
    let gap = hash(this.a(row), this.b(row)) & mask;
    while (this.#slots[gap] !== row + 1) gap = (gap + 1) & mask;
    for (let i = (gap + 1) & mask; this.#slots[i] !== 0; i = (i + 1) & mask) {
      const other = (this.#slots[i] as number) - 1;
      const home = hash(this.a(other), this.b(other)) & mask;
      // may move back only if the gap is not before its home
      if (((i - home) & mask) < ((i - gap) & mask)) continue;
      this.#slots[gap] = other + 1;
      gap = i;
    }
    this.#slots[gap] = 0;
    this.#free.push(row);
    this.#size -= 1;
  }

  #place(row: number): void {
    const mask = this.#slots.length - 1;
    let i = hash(this.a(row), this.b(row)) & mask;
    while (this.#slots[i] !== 0) i = (i + 1) & mask;
    this.#slots[i] = row + 1;
  }

  #grow(): void {
    const old = this.#slots;
    this.#slots = new Int32Array(old.length * 2);
    for (const s of old) if (s !== 0) this.#place(s - 1);
  }
}
