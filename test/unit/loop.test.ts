import * as assert from 'uvu/assert';
import { Loop } from '../../base/loop.ts';
import { silentLogger } from '../../base/log.ts';
import { suite } from '../kit/suite.ts';

const { it, run } = suite('loop');

it('coalesces triggers of one key and never runs a key twice at once', async (t) => {
  let inFlight = 0;
  let most = 0;
  let runs = 0;
  let release = (): void => undefined;
  const loop = new Loop({
    name: 'l',
    log: silentLogger,
    resyncMs: 0,
    run: async () => {
      runs += 1;
      inFlight += 1;
      most = Math.max(most, inFlight);
      await new Promise<void>((r) => (release = r));
      inFlight -= 1;
    },
  });
  t.after(() => loop.stop());
  await loop.start(t.signal);
  loop.trigger('a');
  await new Promise(setImmediate);
  loop.trigger('a');
  loop.trigger('a');
  release();
  await new Promise((r) => setTimeout(r, 5));
  assert.is(runs, 2);
  assert.is(most, 1);
  release();
});

it('retries a failing key with growing delays and stops when told', async (t) => {
  let runs = 0;
  const loop = new Loop({
    name: 'l',
    log: silentLogger,
    firstRetryMs: 1,
    resyncMs: 0,
    run: async () => {
      runs += 1;
      if (runs < 3) throw new Error('not yet');
    },
  });
  t.after(() => loop.stop());
  await loop.start(t.signal);
  loop.trigger('a');
  await new Promise((r) => setTimeout(r, 50));
  assert.is(runs, 3);
});

run();
