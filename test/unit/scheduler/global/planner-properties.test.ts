/**
 * Random small worlds with every field of a policy, instances that run already and sites in every state: what a plan must never be, told by rules
 * that were read from docs/policy.md (`properties/`), not from the planner.
 */
import assert from 'node:assert/strict';
import { plan } from '../../../../scheduler/global/planner.ts';
import { suite } from '../../../kit/suite.ts';
import { placed } from './kit.ts';
import { violations } from './properties/policy-check.ts';
import { NOW, randomWorld } from './properties/random-world.ts';
import { Judge } from './properties/rules.ts';

const { it, run } = suite('planner properties', { timeoutMs: 110_000 });
const WORLDS = 120;

function each(check: (seed: number) => readonly string[]): void {
  const found: string[] = [];
  for (let seed = 1; seed <= WORLDS; seed++) found.push(...check(seed).map((v) => `world ${seed}: ${v}`));
  assert.equal(found.slice(0, 30).join('\n'), '', `${found.length} in ${WORLDS} worlds`);
}

it('is never over a capacity and never against a policy, and what is missing cannot be had', () => {
  each((seed) => {
    const { model, current } = randomWorld(seed);
    const first = plan(model, current, NOW);
    return violations(new Judge(model, current, first));
  });
});

it('is the same whatever the order of the input, and plans nothing new after itself', () => {
  each((seed) => {
    const { model, current, turned } = randomWorld(seed);
    const first = plan(model, current, NOW);
    const out: string[] = [];
    try {
      assert.deepEqual(plan(turned, new Map([...current].toReversed()), NOW).applications, first.applications);
    } catch (error) {
      out.push(`another order: ${(error as Error).message.slice(0, 300)}`);
    }
    for (const [key, a] of plan(model, placed(first), NOW).applications) if (a.changes.length > 0) out.push(`${key}: ${JSON.stringify(a.changes)}`);
    return out;
  });
});

run();
