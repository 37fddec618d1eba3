/** kill -9 of the scheduler between any two writes of any pass, hundreds of seeded lives: the end is the same, and nobody is ever worse off than a plan allows. */
import assert from 'node:assert/strict';
import { MoverWorld, random } from '../kit/mover-world.ts';
import { suite } from '../kit/suite.ts';

const { it, run } = suite('mover crashes', { timeoutMs: 90_000 });
const SITES = ['a', 'b', 'c'];
const PLANS: readonly Readonly<Record<string, number>>[] = [{ a: 2 }, { a: 1, b: 1 }, { b: 3 }, { b: 1 }, { c: 2 }, { a: 1, c: 1 }, { c: 4 }, { a: 2, b: 2 }];
const total = (plan: Readonly<Record<string, number>>): number => Object.values(plan).reduce((a, b) => a + b, 0);

interface Life {
  readonly world: MoverWorld;
  /** Is the scheduler killed in this pass, and after how many writes; null = no. */
  readonly kill: (writes: number, pass: number) => number | null;
  /** Until it runs again, ms. */
  readonly away: () => number;
}

function check(w: MoverWorld, min: number, most: number, what: string): void {
  const ready = w.pods.filter((p) => p.isReady);
  assert.ok(w.serving >= Math.min(min, ready.length), `${what}: ${w.serving} serve, ${min} must`);
  assert.ok(ready.length >= min, `${what}: ${ready.length} are Ready, ${min} must be`);
  assert.ok(w.pods.length <= most, `${what}: ${w.pods.length} instances, ${most} at most`);
  for (const [front, weights] of w.fronts) assert.ok(ready.some((p) => (weights.get(p.name) ?? 0) > 0), `${what}: front ${front} has nobody who is Ready: ${JSON.stringify([...weights])}`);
}

/** From one plan to the next; returns the passes it took. */
function follow({ world: w, kill, away }: Life, before: Readonly<Record<string, number>>, plan: Readonly<Record<string, number>>): number {
  w.plan(plan);
  const [min, most] = [Math.min(total(before), total(plan)), total(before) + total(plan)];
  for (let pass = 0; pass < 200; pass++) {
    const writes = w.writes();
    const k = kill(writes.length, pass);
    for (const [i, write] of writes.slice(0, k ?? writes.length).entries()) {
      write();
      w.live(0);
      check(w, min, most, `${JSON.stringify(before)} -> ${JSON.stringify(plan)}, pass ${pass}, write ${i}`);
    }
    w.live(k === null ? 1_000 : away());
    check(w, min, most, `${JSON.stringify(before)} -> ${JSON.stringify(plan)}, after pass ${pass}`);
    if (isAtRest(w, plan)) return pass;
  }
  throw new Error(`${JSON.stringify(plan)} was not reached: ${JSON.stringify(w.counts)} ${JSON.stringify(w.decide())}`);
}

function isAtRest(w: MoverWorld, plan: Readonly<Record<string, number>>): boolean {
  const d = w.decide();
  return d.steps.length === 0 && d.events.length === 0 && d.nextAt === null && JSON.stringify(w.counts) === JSON.stringify(plan) && w.serving === total(plan);
}

function begin(seed: number): MoverWorld {
  const w = new MoverWorld(SITES, seed, { stepMs: 2_000, drainMs: 4_000 });
  w.onEnd = (pod, weight) => assert.equal(weight, 0, `${pod.name} was stopped while a front gave it ${weight}`);
  w.plan(PLANS[0] as Record<string, number>);
  for (let i = 0; i < 20; i++) {
    for (const write of w.writes()) write();
    w.live(1_000);
  }
  return w;
}

it('ends where the plan says after a kill at every single write of a move', () => {
  const plain = begin(7);
  const passes = follow({ world: plain, kill: () => null, away: () => 0 }, PLANS[0] ?? {}, { b: 3 });
  let kills = 0;
  for (let at = 0; at <= passes; at++) {
    for (let write = 0; write < 12; write++) {
      const w = begin(7);
      follow({ world: w, kill: (n, pass) => (pass === at && write <= n ? (kills++, write) : null), away: () => 9_000 }, PLANS[0] ?? {}, { b: 3 });
      assert.deepEqual(w.counts, plain.counts);
    }
  }
  assert.ok(kills > 50, `${kills} kills`);
});

it('goes through plan after plan with the scheduler killed at random', () => {
  let [kills, moves] = [0, 0];
  for (let seed = 1; seed <= 60; seed++) {
    const dice = random(seed);
    const w = begin(seed);
    let before = PLANS[0] as Readonly<Record<string, number>>;
    for (let i = 0; i < 5; i++) {
      const plan = PLANS[Math.floor(dice() * PLANS.length)] as Readonly<Record<string, number>>;
      follow({ world: w, kill: (n) => (dice() < 0.3 ? (kills++, Math.floor(dice() * (n + 1))) : null), away: () => Math.floor(dice() * 30_000) }, before, plan);
      before = plan;
      moves += 1;
    }
  }
  assert.ok(kills > 500 && moves === 300, `${kills} kills in ${moves} moves`);
});

it('reaches the last plan when plans change in the middle of moves, and stops nobody who has weight', () => {
  for (let seed = 1; seed <= 60; seed++) {
    const dice = random(seed * 31);
    const w = begin(seed);
    for (let i = 0; i < 12; i++) {
      w.plan(PLANS[Math.floor(dice() * PLANS.length)] as Record<string, number>);
      for (let pass = Math.floor(dice() * 8); pass >= 0; pass--) {
        const writes = w.writes();
        for (const write of writes.slice(0, dice() < 0.3 ? Math.floor(dice() * writes.length) : writes.length)) write();
        w.live(Math.floor(dice() * 5_000));
        assert.ok(w.serving >= 1, `seed ${seed}: nobody serves`);
      }
    }
    const last = { b: 2, c: 1 };
    w.plan(last);
    for (let pass = 0; pass < 100 && !isAtRest(w, last); pass++) {
      for (const write of w.writes()) write();
      w.live(1_000);
    }
    assert.ok(isAtRest(w, last), `seed ${seed}: ${JSON.stringify(w.counts)}`);
  }
});

run();
