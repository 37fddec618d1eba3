import fc from 'fast-check';
import { Duplex } from 'node:stream';
import * as assert from 'uvu/assert';
import { MeshError } from '../../../api/errors.ts';
import type { Pod } from '../../../api/kinds/core.ts';
import { parseSpiffe, type Identity } from '../../../certs/names.ts';
import { decide } from '../../../edge/agent/decide.ts';
import type { Observed, PodRecord } from '../../../edge/agent/model.ts';
import { afterRestart, ATTEMPTS, downtimeMs, mismatch, outcomeOf, refusal, reportOf, retryAt, sourceOf, viewOf, type Receiving, type Sending, type Transfer, type TransferView } from '../../../edge/agent/vm/transfer.ts';
import { decodeControl, encodeControl, header, takeFrame, TransferStream, type Control } from '../../../edge/agent/vm/transfer-wire.ts';
import { suite } from '../../kit/suite.ts';

const { it, run } = suite('VM transfer');

const who = (uri: string): Identity => parseSpiffe(uri) as Identity;
const pod = (annotations: Record<string, string>, spec: object = { virtualMachine: { name: 'v', image: 'i' } }): Pod => ({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p', uid: 'u', tenant: 'acme', namespace: 'default', annotations }, spec }) as Pod;
const receiving: Receiving = { role: 'receive', id: 't', from: { site: 'a', uid: 'u' }, phase: 'receiving', attempt: 1, startedAt: 1000, bytes: 0, downtimeMs: null, reason: null };
const sending: Sending = { role: 'send', id: 't', to: 'b', phase: 'sending', ranBefore: true, bytes: 0, stoppedAt: 1000 };
const messageOf = (f: () => unknown): string => {
  try {
    f();
  } catch (error) {
    return (error as MeshError).message;
  }
  return 'nothing was thrown';
};

it('reads frames as they were written, whole or not at all', () => {
  const control: Control = { kind: 'commit', stoppedMs: 120, turnMs: 3 };
  const bytes = encodeControl(control);
  assert.is(bytes.toString('hex'), `010000002c${Buffer.from('{"kind":"commit","stoppedMs":120,"turnMs":3}').toString('hex')}`);
  const both = Buffer.concat([bytes, header(2, 3), Buffer.from('abc')]);
  for (let n = 0; n < bytes.length; n++) assert.is(takeFrame(both.subarray(0, n)), null, `${n} bytes`);
  const first = takeFrame(both);
  assert.equal(first?.frame, { type: 'control', control });
  assert.equal(takeFrame(first?.rest ?? Buffer.alloc(0))?.frame, { type: 'state', bytes: Buffer.from('abc') });
});

it('refuses frames that are too long, of no type, or lack a field, and names the field', () => {
  assert.match(messageOf(() => takeFrame(header(1, 4097))), /at most 4096/);
  assert.match(messageOf(() => takeFrame(header(2, (1 << 20) + 1))), /at most 1048576/);
  assert.match(messageOf(() => takeFrame(header(9, 0))), /unknown frame type 9/);
  assert.match(messageOf(() => decodeControl(Buffer.from('{"kind":"want","id":"x","tenant":"t"}'))), /control\.shape/);
  assert.match(messageOf(() => decodeControl(Buffer.from('{"kind":"commit","stoppedMs":-1,"turnMs":0}'))), /control\.stoppedMs/);
  assert.match(messageOf(() => decodeControl(Buffer.from('{"kind":"constructor"}'))), /control\.kind: unknown/);
  assert.match(messageOf(() => decodeControl(Buffer.from('nonsense'))), /no JSON/);
});

it('holds frames in order over any cut of the stream, and says how the other end went', async () => {
  const chunks: Buffer[] = [];
  const out = new TransferStream(new Duplex({ read: () => undefined, write: (d: Buffer, _, done) => (chunks.push(d), done()) }));
  await out.send({ kind: 'go' });
  await out.sendState(Buffer.alloc((1 << 20) + 5, 7));
  await out.send({ kind: 'refuse', error: 'forbidden', message: 'no' });
  const all = Buffer.concat(chunks);
  let at = 0;
  const pieces = new Duplex({ read(size) { this.push(at < all.length ? all.subarray(at, (at += Math.min(size, 1777))) : null); }, write: (_d, _e, done) => done() });
  const stream = new TransferStream(pieces);
  await stream.expect('go', 1000);
  const sizes = [await stream.next(1000), await stream.next(1000)].map((f) => (f.type === 'state' ? f.bytes.length : -1));
  assert.equal(sizes, [1 << 20, 5]);
  const refused = await stream.expect('loaded', 1000).catch((e: unknown) => e as MeshError);
  assert.equal([(refused as MeshError).kind, (refused as MeshError).message], ['forbidden', 'the source refuses: no']);
  assert.match(((await stream.next(1000).catch((e: unknown) => e)) as Error).message, /connection of the transfer ended/);
  const silent = new TransferStream(new Duplex({ read: () => undefined }));
  assert.is(((await silent.next(10).catch((e: unknown) => e)) as MeshError).kind, 'timeout');
});

it('lets a VM go only to a node of the site that its pod names, for its own tenant', () => {
  const to = { 'mesh.proxima.io/send-to': 'b' };
  const node = who('spiffe://proxima/site/b/node/n');
  assert.is(refusal(pod(to), node, 'acme'), null);
  for (const [p, caller, tenant] of [
    [pod({}), node, 'acme'],
    [pod(to), who('spiffe://proxima/site/c/node/n'), 'acme'],
    [pod(to), who('spiffe://proxima/site/b/gateway'), 'acme'],
    [pod(to), who('spiffe://proxima/admin/root'), 'acme'],
    [pod(to), node, 'other'],
  ] as const) assert.is(refusal(p, caller, tenant)?.kind, 'forbidden', JSON.stringify([p.metadata.annotations, caller.uri, tenant]));
  assert.is(refusal(pod(to, { containers: [] }), node, 'acme')?.kind, 'invalid');
  assert.equal(sourceOf(pod({ 'mesh.proxima.io/restore-from': 'edge-a/0f-1' })), { site: 'edge-a', uid: '0f-1' });
  assert.is(sourceOf(pod({})), null);
  for (const bad of ['', 'a', 'a/', '/u', 'a/b/c', '../x/y']) assert.match(messageOf(() => sourceOf(pod({ 'mesh.proxima.io/restore-from': bad }))), /expected <site>\/<pod uid>/, bad);
});

it('names what differs between two machines', () => {
  const shape = { image: 'i', memoryMiB: 128, cpus: 1, machine: 'x' };
  assert.is(mismatch(shape, shape), null);
  assert.match(mismatch(shape, { ...shape, memoryMiB: 256, machine: 'y' })?.message ?? '', /memoryMiB \(256 there, 128 here\), machine/);
});

it('tells how it goes, and when a try is followed by another', () => {
  assert.is(reportOf(undefined), null);
  assert.equal([reportOf(sending), reportOf({ ...sending, phase: 'sent', bytes: 9 })], [{ phase: 'sending' }, { phase: 'sent', bytes: 9 }]);
  assert.equal(reportOf(receiving), { phase: 'sending' });
  assert.equal(reportOf({ ...receiving, phase: 'committed', bytes: 5 }), { phase: 'sent', bytes: 5 });
  assert.equal(reportOf({ ...receiving, phase: 'restored', bytes: 5, downtimeMs: 80 }), { phase: 'restored', bytes: 5, downtimeMs: 80 });
  assert.equal(reportOf({ ...receiving, phase: 'failed', reason: 'why' }), { phase: 'failed', reason: 'why' });
  assert.is(downtimeMs({ stoppedMs: 100, turnMs: 2, waitedMs: 32, wentOnMs: 10 }), 125);
  assert.is(downtimeMs({ stoppedMs: 100, turnMs: 5, waitedMs: 0, wentOnMs: 10 }), 110, 'a clock that runs fast takes nothing away');
  const no = new MeshError('forbidden', 'not yet');
  assert.is(retryAt(receiving, false, no, 2000, 60_000), 2500, 'the source may hear of it a moment later');
  assert.is(retryAt(receiving, false, no, 62_000, 60_000), null);
  const gone = new MeshError('not-found', 'no such pod');
  assert.equal([retryAt(receiving, false, gone, 2000, 60_000), retryAt(receiving, false, gone, 17_000, 60_000)], [2500, null], 'a source that is no more is not waited for as long');
  const anew: Receiving = { ...receiving, phase: 'failed', reason: 'gone', isSourceGone: true };
  assert.equal([viewOf(anew, false), afterRestart(anew, true), reportOf(anew)], [undefined, 'none', { phase: 'failed', reason: 'gone' }], 'the VM is like any other then');
  assert.is(retryAt(receiving, false, new MeshError('unsupported', 'another QEMU'), 2000, 60_000), null);
  assert.is(retryAt(receiving, true, new MeshError('unavailable', 'cut'), 2000, 60_000), 3000);
  assert.is(retryAt({ ...receiving, attempt: ATTEMPTS }, true, new MeshError('unavailable', 'cut'), 2000, 60_000), null);
});

/** Both ends as their disks and their guests, and the words on the way; a death takes all but the disk. */
class World {
  source: { disk: Transfer | undefined; runs: boolean; up: boolean } = { disk: undefined, runs: true, up: true };
  target: { disk: Transfer | undefined; machine: boolean; runs: boolean; up: boolean } = { disk: undefined, machine: false, runs: false, up: true };
  readonly #steps: readonly (() => boolean)[] = [
    () => this.target.up && ((this.target.disk = receiving), (this.target.machine = true)),
    () => this.source.up && ((this.source.disk = sending), true),
    () => this.source.up && ((this.source.runs = false), true),
    () => this.source.up && this.target.up && ((this.target.disk = { ...receiving, phase: 'loaded' }), true),
    () => this.source.up && this.target.up && ((this.source.disk = { ...sending, phase: 'sent' }), true),
    () => this.target.up && ((this.target.disk = { ...receiving, phase: 'committed' }), true),
    () => this.target.up && ((this.target.runs = true), true),
    () => this.target.up && ((this.target.disk = { ...receiving, phase: 'restored' }), true),
  ];

  /** Up to `n` steps; the first that cannot be done ends the conversation, and the ends do what a lost connection makes them do. */
  go(n: number): void {
    for (const step of this.#steps.slice(0, n)) if (step() === false) break;
  }

  hangUp(): void {
    const { disk } = this.source;
    if (this.source.up && disk?.role === 'send' && disk.phase === 'sending') this.resume();
  }

  restart(): void {
    this.source.up = this.target.up = true;
    if (this.source.disk !== undefined && afterRestart(this.source.disk, true) === 'resume') this.resume();
    const { disk } = this.target;
    if (disk === undefined || disk.role === 'send') return;
    const next = afterRestart(disk, this.target.machine);
    if (next === 'go-on') this.target.runs = true;
    if (next === 'discard' || (next === 'ask' && outcomeOf(this.source.disk, 't') === 'aborted')) [this.target.disk, this.target.machine] = [undefined, false];
    else if (next === 'ask') this.target.runs = true;
  }

  resume(): void {
    this.source.runs = true;
    this.source.disk = undefined;
  }
}

it('never runs at both ends and always ends at one, whoever dies after whichever step', () => {
  fc.assert(
    fc.property(fc.nat(8), fc.constantFrom('source', 'target', 'both', 'line'), (n, dies) => {
      const w = new World();
      w.go(n);
      assert.not.ok(w.source.runs && w.target.runs, 'before');
      if (dies !== 'target' && dies !== 'line') w.source.up = false;
      if (dies !== 'source' && dies !== 'line') w.target.up = false;
      w.hangUp();
      assert.not.ok(w.source.runs && w.target.runs, 'between');
      w.restart();
      assert.not.ok(w.source.runs && w.target.runs, 'after');
      assert.ok(w.source.runs || w.target.runs, 'one of them goes on');
    }),
    { numRuns: 300 },
  );
});

it('starts no VM that waits for its state, and neither resumes nor restarts one that is on its way or has gone', () => {
  const record = (annotations: Record<string, string>, starts = 0): PodRecord => ({ pod: pod(annotations), address: { vni: 1, address: '10.0.0.2', prefix: 24, gateway: '10.0.0.1', mac: '02:00:00:00:00:02', mtu: 1400 }, provisioned: true, gone: false, starts: { v: starts }, crashes: {} });
  const seen = (transfer?: TransferView, vm: Observed['vm'] = { power: 'paused', configured: false, startedAt: 0, ...(transfer === undefined ? {} : { transfer }) }): Observed => ({ sandboxes: null, containers: [], vm, vmReady: true, probes: {}, trouble: null });
  const from = { 'mesh.proxima.io/restore-from': 'a/u' };
  const stepsOf = (r: PodRecord, s: Observed): readonly string[] => decide(r, s, 1).steps.map((x) => x.kind);
  assert.equal(stepsOf(record(from), seen(undefined, null)), ['receive-vm']);
  assert.equal(stepsOf(record(from), seen('interrupted')), ['receive-vm']);
  for (const view of ['receiving', 'failed', 'moving', 'moved'] as const) assert.equal(stepsOf(record(from), seen(view)), [], view);
  assert.equal(stepsOf(record({}, 1), seen()), ['resume-vm'], 'one that is part of no move is resumed');
  assert.equal(stepsOf(record(from, 1), seen(undefined, null)), ['start-vm'], 'what has arrived once starts like any other');
  assert.equal(stepsOf({ ...record(from), gone: true }, seen('moved')), ['stop-vm', 'finish']);
  const fenced = { ...record({ 'mesh.proxima.io/fence-after-seconds': '1' }), wordAt: -1500 };
  assert.equal(stepsOf(fenced, seen('moving')), ['stop-vm']);
  assert.equal(stepsOf(fenced, seen('moved')), [], 'a fence takes nothing away that says who runs the VM');
  assert.equal([viewOf(undefined, false), viewOf(undefined, true), viewOf(receiving, false), viewOf({ ...receiving, phase: 'restored' }, false), viewOf({ ...sending, phase: 'sent' }, false)], [undefined, 'receiving', 'interrupted', undefined, 'moved']);
});

run();
