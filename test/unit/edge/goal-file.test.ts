import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { GoalAck, GoalEntry, GoalState } from '../../../api/goal.ts';
import { silentLogger } from '../../../base/log.ts';
import { GoalFile, type GoalHolder } from '../../../edge/goal-file.ts';
import { suite } from '../../kit/suite.ts';
import type { CaseContext } from '../../kit/suite.ts';

const { it, run } = suite('edge/goal file');
const vpc: GoalEntry = { kind: 'vpc', vni: 7, cidr: '10.64.0.0/16', dividers: [] };
const goal = (version: number): GoalState => ({ droplet: 'n1', version, base: 0, put: [vpc], drop: [] });

class Held implements GoalHolder {
  version = 0;
  put: readonly GoalEntry[] = [];
  readonly #inKernel: boolean;

  constructor(inKernel: boolean) {
    this.#inKernel = inKernel;
  }

  hasGoal(): boolean {
    return this.#inKernel;
  }

  goal(): GoalState {
    return { ...goal(this.version), put: this.put };
  }

  apply(g: GoalState): Promise<GoalAck> {
    this.version = g.version;
    this.put = g.put;
    return Promise.resolve({ droplet: 'n1', version: g.version, ok: true, message: '' });
  }
}

function path(t: CaseContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'px-goal-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return join(dir, 'goal.json');
}

it('brings the last goal back into an empty kernel, and asks the region for everything all the same', async (t) => {
  const at = path(t);
  const before = new GoalFile(at, new Held(false), silentLogger);
  await before.start(t.signal);
  await before.apply(goal(41));
  assert.not.ok(existsSync(at), 'a burst of goals is one write');
  await before.stop();
  assert.is((JSON.parse(readFileSync(at, 'utf8')) as GoalState).version, 41);
  const held = new Held(false);
  const after = new GoalFile(at, held, silentLogger);
  await after.start(t.signal);
  t.after(() => after.stop());
  assert.equal([held.version, held.put, after.version], [41, [vpc], 0]);
  await after.apply(goal(42));
  assert.is(after.version, 42);
});

it('leaves a kernel that holds a goal alone, and takes a damaged file for none', async (t) => {
  const at = path(t);
  writeFileSync(at, JSON.stringify(goal(3)));
  const full = new Held(true);
  await new GoalFile(at, full, silentLogger).start(t.signal);
  assert.is(full.version, 0);
  writeFileSync(at, '{"dropl');
  const empty = new Held(false);
  await new GoalFile(at, empty, silentLogger).start(t.signal);
  assert.is(empty.version, 0);
});

run();
