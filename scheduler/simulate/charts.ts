/** Charts as SVG, drawn here: lines over time, bars, and a scatter. Legible on white at 720 x 360, axes labelled with their units. */

export interface Series {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

export interface Axes {
  readonly title: string;
  readonly x: string;
  readonly y: string;
}

const [WIDTH, HEIGHT] = [720, 380];
const PLOT = { left: 72, right: 164, top: 44, bottom: 52 } as const;
/** Okabe and Ito: told apart by everybody, also in print. */
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000'];
const DASHES = ['', '7 3', '2 2', '9 3 2 3', '4 4', '1 3', '12 4'];

const escape = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
const px = (v: number): string => (Math.round(v * 10) / 10).toString();

interface TextOptions {
  readonly anchor?: 'start' | 'middle' | 'end';
  readonly size?: number;
  readonly bold?: boolean;
  readonly turn?: number;
  readonly colour?: string;
}

function text(x: number, y: number, content: string, o: TextOptions = {}): string {
  const { anchor = 'start', size = 12, bold = false, turn, colour = '#222' } = o;
  return `<text x="${px(x)}" y="${px(y)}" font-size="${size}" text-anchor="${anchor}" fill="${colour}"${bold ? ' font-weight="bold"' : ''}${turn === undefined ? '' : ` transform="rotate(${turn} ${px(x)} ${px(y)})"`}>${escape(content)}</text>`;
}

const line = (x1: number, y1: number, x2: number, y2: number, colour = '#ccc'): string => `<line x1="${px(x1)}" y1="${px(y1)}" x2="${px(x2)}" y2="${px(y2)}" stroke="${colour}"/>`;

/** Round steps that cover the range with about `count` of them. */
export function ticks(low: number, high: number, count = 5): readonly number[] {
  const span = high - low;
  if (!(span > 0)) return [low];
  const raw = span / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = ([1, 2, 2.5, 5, 10].find((m) => m * power >= raw - 1e-12) ?? 10) * power;
  const out: number[] = [];
  for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + step * 1e-9; v += step) out.push(Math.abs(v) < step * 1e-9 ? 0 : v);
  return out;
}

function label(v: number): string {
  const a = Math.abs(v);
  if (a >= 1e6) return `${Math.round(v / 1e4) / 100}M`;
  if (a >= 1e4) return `${Math.round(v / 100) / 10}k`;
  return String(Math.round(v * 1000) / 1000);
}

class Frame {
  readonly low: readonly [number, number];
  readonly high: readonly [number, number];
  readonly #parts: string[] = [];

  constructor(axes: Axes, x: readonly [number, number], y: readonly [number, number]) {
    this.low = [x[0], y[0]];
    this.high = [x[1] > x[0] ? x[1] : x[0] + 1, y[1] > y[0] ? y[1] : y[0] + 1];
    this.add(text(PLOT.left, 24, axes.title, { size: 15, bold: true }));
    this.add(text((PLOT.left + WIDTH - PLOT.right) / 2, HEIGHT - 12, axes.x, { anchor: 'middle' }));
    this.add(text(18, (PLOT.top + HEIGHT - PLOT.bottom) / 2, axes.y, { anchor: 'middle', turn: -90 }));
  }

  x(v: number): number {
    return PLOT.left + ((v - this.low[0]) / (this.high[0] - this.low[0])) * (WIDTH - PLOT.left - PLOT.right);
  }

  y(v: number): number {
    return HEIGHT - PLOT.bottom - ((v - this.low[1]) / (this.high[1] - this.low[1])) * (HEIGHT - PLOT.top - PLOT.bottom);
  }

  add(...parts: readonly string[]): void {
    this.#parts.push(...parts);
  }

  gridY(): void {
    for (const v of ticks(this.low[1], this.high[1])) this.add(line(PLOT.left, this.y(v), WIDTH - PLOT.right, this.y(v)), text(PLOT.left - 8, this.y(v) + 4, label(v), { anchor: 'end' }));
    this.add(line(PLOT.left, PLOT.top, PLOT.left, HEIGHT - PLOT.bottom, '#222'), line(PLOT.left, HEIGHT - PLOT.bottom, WIDTH - PLOT.right, HEIGHT - PLOT.bottom, '#222'));
  }

  tickX(v: number, name: string): void {
    this.add(line(this.x(v), HEIGHT - PLOT.bottom, this.x(v), HEIGHT - PLOT.bottom + 5, '#222'), text(this.x(v), HEIGHT - PLOT.bottom + 20, name, { anchor: 'middle' }));
  }

  legend(names: readonly string[], isLine: boolean): void {
    for (const [i, name] of names.entries()) {
      const y = PLOT.top + 12 + i * 22;
      const [x, colour] = [WIDTH - PLOT.right + 14, COLOURS[i % COLOURS.length] as string];
      this.add(isLine ? `<line x1="${x}" y1="${y}" x2="${x + 22}" y2="${y}" stroke="${colour}" stroke-width="2.5" stroke-dasharray="${DASHES[i % DASHES.length] ?? ''}"/>` : `<rect x="${x}" y="${y - 7}" width="14" height="14" fill="${colour}"/>`);
      this.add(text(x + 28, y + 4, name));
    }
  }

  toString(): string {
    return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" font-family="DejaVu Sans, Verdana, Arial, sans-serif">\n<rect width="${WIDTH}" height="${HEIGHT}" fill="white"/>\n${this.#parts.join('\n')}\n</svg>\n`;
  }
}

const extent = (values: readonly number[]): readonly [number, number] => [values.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY), values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)];

/** `x` in hours. `from0`: the y axis begins at zero. */
export function lineChart(axes: Axes, series: readonly Series[], o: { readonly from0?: boolean; readonly high?: number } = {}): string {
  const all = series.flatMap((s) => s.points);
  if (all.length === 0) return new Frame(axes, [0, 1], [0, 1]).toString();
  const [low, high] = extent(all.map((p) => p[1]));
  const f = new Frame(axes, extent(all.map((p) => p[0])), [o.from0 === true ? 0 : low - (high - low) * 0.05, o.high ?? high + (high - low) * 0.05]);
  f.gridY();
  const span = f.high[0] - f.low[0];
  const every = [1, 2, 3, 6, 12, 24, 48].find((h) => span / h <= 9) ?? 168;
  for (let h = Math.ceil(f.low[0] / every) * every; h <= f.high[0] + 1e-9; h += every) f.tickX(h, String(h));
  for (const [i, s] of series.entries()) {
    const path = s.points.map(([x, y], k) => `${k === 0 ? 'M' : 'L'}${px(f.x(x))} ${px(f.y(Math.min(f.high[1], Math.max(f.low[1], y))))}`).join('');
    f.add(`<path d="${path}" fill="none" stroke="${COLOURS[i % COLOURS.length]}" stroke-width="2" stroke-dasharray="${DASHES[i % DASHES.length] ?? ''}"/>`);
  }
  f.legend(series.map((s) => s.name), true);
  return f.toString();
}

/** One group of bars for each name; `parts` are the bars of a group. */
export function barChart(axes: Axes, names: readonly string[], parts: readonly { readonly name: string; readonly values: readonly number[] }[]): string {
  const most = Math.max(1e-9, ...parts.flatMap((p) => p.values));
  const f = new Frame(axes, [0, names.length], [0, most * 1.1]);
  f.gridY();
  const width = Math.min(0.8 / parts.length, 0.3);
  for (const [g, name] of names.entries()) {
    for (const [i, p] of parts.entries()) {
      const v = p.values[g] ?? 0;
      const x = f.x(g + 0.5 + (i - parts.length / 2) * width);
      f.add(`<rect x="${px(x)}" y="${px(f.y(v))}" width="${px(f.x(width) - f.x(0) - 2)}" height="${px(f.y(0) - f.y(v))}" fill="${COLOURS[i % COLOURS.length]}"/>`);
      f.add(text(x + (f.x(width) - f.x(0)) / 2 - 1, f.y(v) - 4, label(Math.round(v * 10) / 10), { anchor: 'middle', size: 10 }));
    }
    for (const [k, word] of wrap(name).entries()) f.add(text(f.x(g + 0.5), HEIGHT - PLOT.bottom + 15 + k * 13, word, { anchor: 'middle', size: 11 }));
  }
  if (parts.length > 1) f.legend(parts.map((p) => p.name), false);
  return f.toString();
}

function wrap(name: string): readonly string[] {
  const at = name.indexOf('-');
  return at < 0 ? [name] : [name.slice(0, at + 1), name.slice(at + 1)];
}

/** One named dot each. */
export function scatterChart(axes: Axes, dots: readonly { readonly name: string; readonly x: number; readonly y: number }[], o: { readonly high?: number } = {}): string {
  const [x, y] = [extent(dots.map((d) => d.x)), extent(dots.map((d) => d.y))];
  const pad = (v: readonly [number, number]): readonly [number, number] => [v[0] - Math.max(1e-9, v[1] - v[0]) * 0.1, v[1] + Math.max(1e-9, v[1] - v[0]) * 0.1];
  const f = new Frame(axes, pad(x), [pad(y)[0], Math.min(o.high ?? Number.POSITIVE_INFINITY, pad(y)[1])]);
  f.gridY();
  for (const v of ticks(f.low[0], f.high[0])) f.tickX(v, label(v));
  for (const [i, d] of dots.entries()) f.add(`<circle cx="${px(f.x(d.x))}" cy="${px(f.y(d.y))}" r="7" fill="${COLOURS[i % COLOURS.length]}"/>`);
  f.legend(dots.map((d) => d.name), false);
  return f.toString();
}
