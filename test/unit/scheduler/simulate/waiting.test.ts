/** The queue at an instance: the formula against published values, and against a queue that is played through request by request. */
import assert from 'node:assert/strict';
import { Random } from '../../../../scheduler/simulate/random.ts';
import { erlangC, meanWaitMs, slicesOf, waitingAt, withinWait } from '../../../../scheduler/simulate/waiting.ts';
import { suite } from '../../../kit/suite.ts';

const { it, run } = suite('waiting');
const near = (a: number, b: number, by: number, what: string): void => assert.ok(Math.abs(a - b) <= by, `${what}: ${a} and ${b}`);

it('agrees with the tables of Erlang: one worker waits for its load, two at half load for a third', () => {
  near(erlangC(1, 0.7), 0.7, 1e-12, 'M/M/1');
  near(erlangC(2, 1), 1 / 3, 1e-12, 'M/M/2');
  near(erlangC(10, 8), 0.4092, 1e-4, 'M/M/10');
});

it('agrees with requests that are played through: who waits, how long on average, and how many longer than so long', () => {
  const [workers, perInstance, rps] = [4, 100, 80];
  const w = waitingAt(rps, 1, perInstance, workers);
  const random = new Random(11);
  const draw = (mean: number): number => -mean * Math.log(1 - random.next());
  const free = Array.from({ length: workers }, () => 0);
  let [now, waited, sum, longer] = [0, 0, 0, 0];
  const requests = 200_000;
  for (let i = 0; i < requests; i++) {
    now += draw(1000 / rps);
    const first = free.indexOf(Math.min(...free));
    const wait = Math.max(0, (free[first] as number) - now);
    free[first] = now + wait + draw((1000 * workers) / perInstance);
    sum += wait;
    if (wait > 0) waited += 1;
    if (wait > 60) longer += 1;
  }
  near(w.chance, waited / requests, 0.02, 'who waits');
  near(meanWaitMs(w), sum / requests, 0.08 * meanWaitMs(w), 'mean');
  near(1 - withinWait(w, 60), longer / requests, 0.02, 'longer than 60 ms');
});

it('rises with the load without a leap, and what is beyond the capacity is not answered', () => {
  let before = -1;
  for (let rps = 1; rps <= 260; rps++) {
    const w = waitingAt(rps, 2, 100, 8);
    const mean = meanWaitMs(w);
    assert.ok(mean >= before && mean <= 1_000, `${rps} req/s: ${mean} ms after ${before}`);
    near(w.answered, Math.min(1, 200 / rps), 1e-12, `${rps} req/s`);
    near([...slicesOf(w)].reduce((sum, [share]) => sum + share, 0), 1, 1e-9, 'shares');
    before = mean;
  }
  assert.equal(waitingAt(10, 0, 100, 8).answered, 0);
  assert.equal(withinWait(waitingAt(10, 1, 100, 8), -1), 0, 'the round trip alone is longer than the goal');
});

run();
