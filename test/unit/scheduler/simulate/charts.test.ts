import assert from 'node:assert/strict';
import { Resvg } from '@resvg/resvg-js';
import { barChart, lineChart, scatterChart, ticks } from '../../../../scheduler/simulate/charts.ts';
import { suite } from '../../../kit/suite.ts';

const { it, run } = suite('charts');
const AXES = { title: 'Title with <angles> & "quotes"', x: 'hours', y: 'ms' };
const drawn = (): Record<string, string> => ({
  line: lineChart(AXES, [{ name: 'a', points: [[0, 1], [5, 9], [30, 4]] }, { name: 'b', points: [[0, 2], [30, 2]] }]),
  flat: lineChart(AXES, [{ name: 'a', points: [[0, 100], [1, 100]] }]),
  empty: lineChart(AXES, []),
  bars: barChart(AXES, ['one', 'two-words'], [{ name: 'p50', values: [3, 5] }, { name: 'p99', values: [30, 0] }]),
  dots: scatterChart(AXES, [{ name: 'a', x: 1, y: 2 }, { name: 'b', x: 10_000, y: 3 }]),
  dot: scatterChart(AXES, [{ name: 'a', x: 1, y: 2 }]),
});

it('draws SVG that a renderer takes, with title and units, and no coordinate that is not a number', () => {
  for (const [name, svg] of Object.entries(drawn())) {
    const { width, height } = new Resvg(svg, { font: { loadSystemFonts: false } }).render();
    assert.deepEqual([width, height], [720, 380], name);
    assert.ok(svg.includes('Title with &lt;angles&gt; &amp; &quot;quotes&quot;') && svg.includes('>ms<') && svg.includes('>hours<'), name);
    assert.ok(!/NaN|Infinity|undefined/.test(svg), name);
  }
  assert.throws(() => new Resvg('<svg', {}), 'the renderer does refuse what is no SVG');
});

it('puts everything inside of the picture', () => {
  for (const [name, svg] of Object.entries(drawn())) {
    for (const [, x, y] of svg.matchAll(/[ML](-?[\d.]+) (-?[\d.]+)/g)) assert.ok(Number(x) >= 72 && Number(x) <= 556 && Number(y) >= 43 && Number(y) <= 329, `${name}: ${x} ${y}`);
    for (const [, x, y] of svg.matchAll(/cx="([\d.-]+)" cy="([\d.-]+)"/g)) assert.ok(Number(x) >= 72 && Number(x) <= 556 && Number(y) >= 43 && Number(y) <= 329, `${name}: ${x} ${y}`);
  }
});

it('marks axes at round numbers', () => {
  assert.deepEqual(ticks(0, 100), [0, 20, 40, 60, 80, 100]);
  assert.deepEqual(ticks(0, 0.9).map((v) => Math.round(v * 100) / 100), [0, 0.2, 0.4, 0.6, 0.8]);
  assert.deepEqual(ticks(5, 5), [5]);
});

run();
