import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import type { Pod, PodSpec } from '../../../api/kinds/core.ts';
import { afterEnd, startableAt } from '../../../edge/agent/backoff.ts';
import { silentLogger } from '../../../base/log.ts';
import { decide } from '../../../edge/agent/decide.ts';
import { FENCE_AFTER, FENCE_CONDITION } from '../../../edge/agent/fence.ts';
import type { Observed, ObservedContainer, PodAddress, PodRecord, Step } from '../../../edge/agent/model.ts';
import { Records } from '../../../edge/agent/records.ts';
import { podStatus, sameStatus } from '../../../edge/agent/status.ts';
import { suite } from '../../kit/suite.ts';

const { it, run } = suite('edge decide');
const address: PodAddress = { vni: 7, address: '10.64.3.9', prefix: 24, gateway: '10.64.3.1', mac: '0a:07:0a:40:03:09', mtu: 1400 };
const nothing: Observed = { sandboxes: [], containers: [], vm: null, vmReady: true, probes: {}, trouble: null };

function record(spec: Partial<PodSpec> = {}, change: Partial<PodRecord> = {}): PodRecord {
  const pod: Pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p', uid: 'u', tenant: 'acme', namespace: 'default' }, spec: { vpc: 'shop', containers: [{ name: 'a', image: 'i' }], ...spec } };
  return { pod, address, provisioned: true, gone: false, starts: {}, crashes: {}, ...change };
}
const vmRecord = (spec: object = {}, change: Partial<PodRecord> = {}): PodRecord => {
  const { containers: _, ...rest } = record().pod.spec;
  return { ...record({}, change), pod: { ...record().pod, spec: { ...rest, virtualMachine: { name: 'v', image: 'i', ...spec } } } };
};
const container = (change: Partial<ObservedContainer> = {}): ObservedContainer => ({ id: 'c0', sandboxId: 's0', name: 'a', attempt: 0, state: 'running', startedAt: 1, finishedAt: 0, exitCode: 0, reason: '', image: 'i', imageId: 'd', ...change });
const kinds = (steps: readonly Step[]): string[] => steps.map((s) => s.kind);
const live = { sandboxes: [{ id: 's0', ready: true, attempt: 0 }] };

const table: readonly [title: string, record: PodRecord, seen: Observed, kinds: readonly string[]][] = [
  ['waits for its endpoint', record({}, { address: null }), nothing, []],
  ['makes a sandbox first', record(), nothing, ['run-sandbox']],
  ['starts its container in the sandbox', record(), { ...nothing, ...live }, ['start-container']],
  ['leaves a running container alone', record(), { ...nothing, ...live, containers: [container()] }, []],
  ['books an end before it starts again', record(), { ...nothing, ...live, containers: [container({ state: 'exited' })] }, ['note-end']],
  ['starts again at once after the first end', record({}, { starts: { a: 1 }, crashes: { a: { count: 1, at: 0, attempt: 0 } } }), { ...nothing, ...live, containers: [container({ state: 'exited' })] }, ['start-container']],
  ['does not start again what may not be', record({ restartPolicy: 'Never' }), { ...nothing, ...live, containers: [container({ state: 'exited', exitCode: 3 })] }, []],
  ['does not start again what succeeded, on failure', record({ restartPolicy: 'OnFailure' }), { ...nothing, ...live, containers: [container({ state: 'exited' })] }, []],
  ['replaces a sandbox that a reboot has ended', record(), { ...nothing, sandboxes: [{ id: 's0', ready: false, attempt: 0 }], containers: [container({ state: 'exited' })] }, ['remove-sandbox', 'run-sandbox']],
  ['does nothing while containerd is away', record(), { ...nothing, sandboxes: null }, []],
  ['does not end a pod while containerd is away', record({}, { gone: true }), { ...nothing, sandboxes: null }, []],
  ['ends what the API no longer has', record({}, { gone: true }), { ...nothing, ...live, containers: [container()] }, ['stop-container', 'remove-sandbox', 'finish']],
  ['starts a VM', vmRecord(), nothing, ['start-vm']],
  ['does not start a VM without a VM runtime', vmRecord(), { ...nothing, vmReady: false }, []],
  ['clears a VM that ended, then starts it', vmRecord({}, { starts: { v: 1 } }), { ...nothing, vm: { power: 'shutdown', configured: false, startedAt: 0 } }, ['note-end', 'stop-vm']],
  ['pauses a VM', vmRecord({ powerSpec: 'Paused' }), { ...nothing, vm: { power: 'running', configured: true, startedAt: 0 } }, ['pause-vm']],
  ['resumes a VM', vmRecord({ powerSpec: 'Running' }), { ...nothing, vm: { power: 'paused', configured: true, startedAt: 0 } }, ['resume-vm']],
  ['shuts a VM down', vmRecord({ powerSpec: 'Shutdown' }), { ...nothing, vm: { power: 'running', configured: true, startedAt: 0 } }, ['stop-vm']],
  ['leaves a VM off', vmRecord({ powerSpec: 'Shutdown' }), nothing, []],
];
for (const [title, desired, seen, expected] of table) it(title, () => assert.equal(kinds(decide(desired, seen, 1000).steps), expected));

it('gives the grace period of the deletion to containers, and none when the API has forgotten the pod', () => {
  const pod = record().pod;
  const deleted = { ...record(), pod: { ...pod, metadata: { ...pod.metadata, deletionTimestamp: 'now', deletionGracePeriodSeconds: 7 } } };
  const seen = { ...nothing, ...live, containers: [container()] };
  assert.equal(decide(deleted, seen, 0).steps[0], { kind: 'stop-container', id: 'c0', graceMs: 7000 });
  assert.equal(decide({ ...deleted, gone: true }, seen, 0).steps[0], { kind: 'stop-container', id: 'c0', graceMs: 0 });
});

it('waits longer after each end, up to five minutes, and forgives after ten minutes of running', () => {
  let crash = afterEnd(undefined, 0, 0, 1000);
  const waits: number[] = [];
  for (let i = 0; i < 12; i++) {
    waits.push(Math.max(0, startableAt(crash) - crash.at));
    crash = afterEnd(crash, i, 10, 1000);
  }
  assert.equal(waits, [0, 1000, 2000, 4000, 8000, 16000, 32000, 64000, 128000, 256000, 300000, 300000]);
  assert.is(afterEnd(crash, 99, 600_000, 1000).count, 1);
  const crashed = record({}, { starts: { a: 3 }, crashes: { a: { count: 3, at: 1000, attempt: 2 } } });
  assert.equal(decide(crashed, { ...nothing, ...live, containers: [container({ state: 'exited', attempt: 2 })] }, 1500), { steps: [], wakeAt: 3000 });
});

/** What the steps do to a world without failures. */
function apply(r: PodRecord, seen: Observed, step: Step, now: number): { r: PodRecord; seen: Observed } {
  const next = (name: string, n: number): PodRecord => ({ ...r, starts: { ...r.starts, [name]: n } });
  switch (step.kind) {
    case 'run-sandbox': return { r, seen: { ...seen, sandboxes: [{ id: `s${step.attempt}`, ready: true, attempt: step.attempt }, ...(seen.sandboxes ?? [])] } };
    case 'remove-sandbox': return { r, seen: { ...seen, sandboxes: (seen.sandboxes ?? []).filter((s) => s.id !== step.id), containers: seen.containers.filter((c) => c.sandboxId !== step.id) } };
    case 'start-container': return { r: next(step.name, step.attempt + 1), seen: { ...seen, containers: [container({ id: `c${now}.${step.name}`, name: step.name, attempt: step.attempt, sandboxId: step.sandboxId, startedAt: now }), ...seen.containers] } };
    case 'stop-container': return { r, seen: { ...seen, containers: seen.containers.map((c) => (c.id === step.id ? { ...c, state: 'exited' as const } : c)) } };
    case 'remove-container': return { r, seen: { ...seen, containers: seen.containers.filter((c) => c.id !== step.id) } };
    case 'note-end': return { r: { ...r, crashes: { ...r.crashes, [step.name]: afterEnd(r.crashes[step.name], step.attempt, step.ranMs, now) } }, seen };
    case 'start-vm': return { r: next('v', step.attempt + 1), seen: { ...seen, vm: { power: 'running', configured: true, startedAt: now } } };
    case 'receive-vm': return { r, seen: { ...seen, vm: { power: 'shutdown', configured: false, startedAt: 0, transfer: 'receiving' } } };
    case 'stop-vm': return { r, seen: { ...seen, vm: null } };
    case 'pause-vm': return { r, seen: { ...seen, vm: { power: 'paused', configured: true, startedAt: 0 } } };
    case 'resume-vm': return { r, seen: { ...seen, vm: { power: 'running', configured: true, startedAt: 0 } } };
    case 'finish': return { r, seen };
  }
}

const worlds = fc.record({
  vm: fc.boolean(),
  power: fc.constantFrom('Running', 'Paused', 'Shutdown'),
  policy: fc.constantFrom('Always', 'OnFailure', 'Never'),
  gone: fc.boolean(),
  sandboxes: fc.array(fc.boolean(), { maxLength: 3 }),
  containers: fc.array(fc.record({ sandbox: fc.nat(2), name: fc.constantFrom('a', 'b'), state: fc.constantFrom('created', 'running', 'exited', 'unknown'), exitCode: fc.constantFrom(0, 1) }), { maxLength: 6 }),
  vmPower: fc.constantFrom('running', 'paused', 'shutdown', null),
});

it('converges from any state in a few rounds, and then asks for nothing', () => {
  fc.assert(
    fc.property(worlds, (w) => {
      let r: PodRecord = w.vm ? vmRecord({ powerSpec: w.power }, { gone: w.gone }) : record({ restartPolicy: w.policy as 'Always', containers: [{ name: 'a', image: 'i' }, { name: 'b', image: 'i' }] }, { gone: w.gone });
      let seen: Observed = {
        ...nothing,
        sandboxes: w.vm ? [] : w.sandboxes.map((ready, i) => ({ id: `s${i}`, ready, attempt: i })),
        containers: w.vm ? [] : w.containers.filter((c) => c.sandbox < w.sandboxes.length).map((c, i) => container({ id: `c${i}`, name: c.name, attempt: i, sandboxId: `s${c.sandbox}`, state: c.state as 'running', exitCode: c.exitCode })).reverse(),
        vm: w.vm && w.vmPower !== null ? { power: w.vmPower as 'running', configured: w.vmPower !== 'shutdown', startedAt: 0 } : null,
      };
      let now = 1;
      for (let round = 0; round < 20; round++) {
        const { steps, wakeAt } = decide(r, seen, now);
        if (steps.length === 0 && wakeAt === null) return;
        if (steps.some((s) => s.kind === 'finish')) {
          for (const s of steps) ({ r, seen } = apply(r, seen, s, now));
          assert.equal([seen.sandboxes, seen.vm], [[], null]);
          return;
        }
        for (const s of steps) ({ r, seen } = apply(r, seen, s, now));
        now = Math.max(now + 1, wakeAt ?? 0);
      }
      assert.unreachable('it does not settle');
    }),
    { numRuns: 500 },
  );
});

it('is Ready only with probes answered and the endpoint provisioned, and keeps transition times and the conditions of others', () => {
  const r = record({ containers: [{ name: 'a', image: 'i', readinessProbe: { tcpSocket: { port: 1 } } }] });
  const seen = { ...nothing, ...live, containers: [container()] };
  const at = (rec: PodRecord, s: Observed, now: number) => podStatus(rec, s, { hostIp: '1.2.3.4', now });
  const isReady = (s: ReturnType<typeof at>): boolean => s.conditions?.find((c) => c.type === 'Ready')?.status === 'True';
  assert.not.ok(isReady(at(r, seen, 1)));
  assert.not.ok(isReady(at({ ...r, provisioned: false }, { ...seen, probes: { a: true } }, 1)));
  const first = at(r, { ...seen, probes: { a: true } }, 1);
  assert.ok(isReady(first));
  const kept = { ...first, conditions: [...(first.conditions ?? []), { type: 'Other', status: 'True' as const }] };
  const second = at({ ...r, pod: { ...r.pod, status: kept } }, { ...seen, probes: { a: true } }, 99_000);
  assert.ok(sameStatus(kept, second));
  assert.is(at(r, { ...seen, containers: [container({ state: 'exited', exitCode: 1 })] }, 1).containerStatuses?.[0]?.ready, false);
});

const fenced = (change: Partial<PodRecord> = {}, seconds = '30'): PodRecord => {
  const r = record({}, { wordAt: 1_000_000, ...change });
  return { ...r, pod: { ...r.pod, metadata: { ...r.pod.metadata, annotations: { [FENCE_AFTER]: seconds } } } };
};

it('stops a fenced pod when its region gave no word for too long, starts nothing of it, and goes on after the next word', () => {
  const running = { ...nothing, ...live, containers: [container()] };
  const ended = { ...nothing, ...live, containers: [container({ state: 'exited' })] };
  const before = decide(fenced(), running, 1_029_999);
  assert.equal(before, { steps: [], wakeAt: 1_030_000 }, 'it wakes up in time');
  assert.equal(decide(fenced(), running, 1_030_000).steps, [{ kind: 'stop-container', id: 'c0', graceMs: 1_000 }]);
  assert.equal(decide(fenced(), ended, 1_030_001), { steps: [], wakeAt: null });
  assert.equal(decide(fenced(), nothing, 1_500_000), { steps: [], wakeAt: null }, 'nor after a boot');
  assert.equal(kinds(decide(fenced({ wordAt: 1_499_000 }), ended, 1_500_000).steps), ['note-end']);
  assert.equal(decide(fenced(), running, 900_000).steps.length, 1, 'a clock that was set back proves nothing');
  assert.equal(decide(fenced({}, 'never'), running, 9e12).steps, []);
  const { wordAt: _, ...unarmed } = fenced();
  assert.equal(decide(unarmed, running, 9e12), { steps: [], wakeAt: null }, 'not before the first word');
});

it('says that it stops a pod by itself only when it would', () => {
  const armed = (r: PodRecord): unknown => podStatus(r, nothing, { hostIp: 'h', now: 0 }).conditions?.filter((c) => c.type === FENCE_CONDITION).map((c) => `${c.status} ${c.message}`);
  const { wordAt: _, ...unarmed } = fenced();
  assert.equal([armed(fenced()), armed(unarmed), armed(record())], [['True 30'], [], []]);
});

it('keeps on disk when a fenced pod was wanted last; a fence that is new begins to count with the next word', () => {
  const dir = mkdtempSync(join(tmpdir(), 'px-records-'));
  try {
    const records = new Records(dir, silentLogger);
    records.load();
    const plain = record().pod;
    const { pod } = fenced();
    records.desire(plain);
    records.change('u', { wordAt: 5 });
    records.desire(pod);
    assert.is(records.get('u')?.wordAt, undefined);
    records.change('u', { wordAt: 7 });
    records.desire({ ...pod, metadata: { ...pod.metadata, annotations: { [FENCE_AFTER]: '60' } } });
    const again = new Records(dir, silentLogger);
    again.load();
    assert.is(again.get('u')?.wordAt, 7);
    assert.is(again.get('u')?.pod.metadata.annotations?.[FENCE_AFTER], '60');
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

run();
