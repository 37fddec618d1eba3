/**
 * Random small worlds with every field of a policy, instances that run already and sites in every state: what a plan must never be, and whether each
 * of its sentences is true, told by rules that were read from docs/policy.md (`properties/`), not from the planner.
 */
import assert from 'node:assert/strict';
import { type Plan, plan } from '../../../../scheduler/global/planner.ts';
import { suite } from '../../../kit/suite.ts';
import { app, placed, site, SITES, world } from './kit.ts';
import { violations } from './properties/policy-check.ts';
import { NOW, randomWorld } from './properties/random-world.ts';
import { untrue } from './properties/reason-check.ts';
import { Judge } from './properties/rules.ts';

const { it, run } = suite('planner properties', { timeoutMs: 110_000 });
const WORLDS = 200;
/** Of so many worlds one is planned again, and in another order. */
const EACH = 4;
/** Beyond those, where what seldom meets does: two that follow each other about, a goal missed by little, filled instances at their maximum, a rate of failback, a ceiling that two cheap instances fit under and one dear one does not. */
const RARE = [663, 1246, 1686, 1695, 2442] as const;

const judges = new Map<number, Judge>();
function judgeOf(seed: number): Judge {
  let judge = judges.get(seed);
  if (judge === undefined) {
    const { model, current } = randomWorld(seed);
    judges.set(seed, (judge = new Judge(model, current, plan(model, current, NOW))));
  }
  return judge;
}

function each(step: number, check: (seed: number) => readonly string[]): void {
  const found: string[] = [];
  for (const seed of [...Array.from({ length: WORLDS / step }, (_, i) => 1 + i * step), ...RARE]) found.push(...check(seed).map((v) => `world ${seed}: ${v}`));
  assert.equal(found.slice(0, 30).join('\n'), '', `${found.length} found`);
}

const asText = (p: Plan): string => JSON.stringify([...p.applications].sort((a, b) => (a[0] < b[0] ? -1 : 1)));

it('is never over a capacity and never against a policy, and what is missing cannot be had', () => {
  each(1, (seed) => violations(judgeOf(seed)));
});

it('says nothing that is not true: every name and number of every reason, refusal, change and unmet goal', () => {
  each(1, (seed) => untrue(judgeOf(seed)));
});

it('is the same whatever the order of the input', () => {
  each(EACH, (seed) => {
    const { turned, current } = randomWorld(seed);
    const again = asText(plan(turned, new Map([...current].toReversed()), NOW));
    return again === asText(judgeOf(seed).plan) ? [] : [`${asText(judgeOf(seed).plan)}\nand\n${again}`];
  });
});

it('plans nothing new after itself', () => {
  each(EACH, (seed) => {
    const { model, plan: first } = judgeOf(seed);
    return [...plan(model, placed(first), NOW).applications].flatMap(([key, a]) => (a.changes.length === 0 ? [] : [`${key}: ${JSON.stringify(a.changes)}`]));
  });
});

it('says truly that an instance for few clients would not pay, and not so when it would', () => {
  const sites = SITES.map((s) => (s.name === 'west-edge-b' ? site(s.name, { kind: 'edge', cost: 4 }) : s));
  const judge = (rps: number): Judge => {
    const model = world([app('web', { a: 95, b: rps })], sites);
    return new Judge(model, new Map(), plan(model, new Map(), NOW));
  };
  const [few, many] = [judge(0.02), judge(1)];
  assert.deepEqual([...untrue(few), ...untrue(many)], []);
  const unmet = (j: Judge): readonly string[] => [...j.plan.applications.values()].flatMap((a) => a.unmet);
  assert.deepEqual(unmet(few), ['client region b: 57 ms from west-edge-a, goal 10 ms: an instance at west-edge-b (3.0 ms) costs more than the share of demand there is worth']);
  assert.deepEqual(unmet(many), []);
});

it('is tried on worlds in which every rule binds somewhere', () => {
  const said = [...judges.values()].flatMap((j) => j.model.applications.flatMap((a) => [...j.planOf(a).unmet, j.planOf(a).kept ?? '', ...j.planOf(a).sites.map((s) => s.reason), ...j.planOf(a).changes.map((c) => c.reason)])).join('\n');
  const words = ['edgeAllowed', 'residency', 'sites.forbidden', 'sites.required', 'overflow', 'trust', 'antiAffinity', 'spread', 'cost.ceiling', 'instances.max', 'of at least', 'migration.allowed', 'migration.windows', 'migration.maxMovesPerHour', 'the policy says fence', 'the policy says move', 'run on, others serve', 'must be well for', 'failback.automatic', 'is not tried again yet', 'mCPU free', 'MiB free', 'gpu free', 'would gain', 'gives way', 'not needed any more'];
  assert.deepEqual(words.filter((w) => !said.includes(w)), []);
});

run();
