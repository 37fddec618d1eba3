import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { Code, encodeData, encodeEnd, encodeGoaway, encodeOpen, encodePing, encodeReset, encodeWindow, FrameReader, MAX_DATA, StreamKind } from '../../gateway/mux/frames.ts';
import type { CodeName, FrameSink, StreamKindName } from '../../gateway/mux/frames.ts';
import { decodeRecord, encodeRecord } from '../../gateway/broker/disk-queue.ts';
import { suite } from '../kit/suite.ts';

const { it, run } = suite('wire/gateway frames');

/** What a reader said, with pieces of one DATA frame put together. */
function readAll(chunks: readonly Buffer[]): unknown[] {
  const said: unknown[] = [];
  const note = (name: string) => (...args: unknown[]) => void said.push([name, ...args.map((a) => (Buffer.isBuffer(a) ? a.toString('hex') : a))]);
  const sink = Object.fromEntries(['open', 'end', 'reset', 'window', 'ping', 'pong', 'goaway'].map((n) => [n, note(n)])) as unknown as FrameSink;
  const data = (stream: number, bytes: Buffer): void => {
    const last = said.at(-1) as unknown[] | undefined;
    if (last?.[0] === 'data' && last[1] === stream) last[2] = `${String(last[2])}${bytes.toString('hex')}`;
    else said.push(['data', stream, bytes.toString('hex')]);
  };
  const reader = new FrameReader({ ...sink, data });
  for (const c of chunks) reader.push(c);
  return said;
}

const GOLDEN: readonly [string, Buffer, string, unknown[]][] = [
  ['open', encodeOpen(1, { kind: 'http', name: 'acme/web', caller: 'spiffe://x', serial: '0A' }), '0100001c00000001' + '0200' + '0008' + '000a' + '0002' + '61636d652f776562' + '7370696666653a2f2f78' + '3041', ['open', 1, { kind: 'http', name: 'acme/web', caller: 'spiffe://x', serial: '0A' }]],
  ['data', encodeData(3, Buffer.from('hi')), '0200000200000003' + '6869', ['data', 3, '6869']],
  ['end', encodeEnd(4), '0300000000000004', ['end', 4]],
  ['reset', encodeReset(5, 'method', 'no'), '0400000400000005' + '0004' + '6e6f', ['reset', 5, 'method', 'no']],
  ['window', encodeWindow(6, 65_536), '0500000400000006' + '00010000', ['window', 6, 65_536]],
  ['ping', encodePing(Buffer.from('0011223344556677', 'hex'), false), '0600000800000000' + '0011223344556677', ['ping', '0011223344556677']],
  ['pong', encodePing(Buffer.from('0011223344556677', 'hex'), true), '0700000800000000' + '0011223344556677', ['pong', '0011223344556677']],
  ['goaway', encodeGoaway('revoked', 'r'), '0800000300000000' + '0008' + '72', ['goaway', 'revoked', 'r']],
];

for (const [name, bytes, hex, said] of GOLDEN) {
  it(`${name} has these bytes, and these bytes mean it`, () => {
    assert.is(bytes.toString('hex'), hex);
    assert.equal(readAll([Buffer.from(hex, 'hex')]), [said]);
  });
  it(`${name} cut at any byte says nothing more than the part that is there, and goes on when the rest comes`, () => {
    for (let cut = 0; cut < bytes.length; cut++) {
      const partial = readAll([bytes.subarray(0, cut)]);
      if (name === 'data') assert.ok(partial.length <= 1);
      else assert.equal(partial, []);
      assert.equal(readAll([bytes.subarray(0, cut), bytes.subarray(cut)]), [said]);
    }
  });
}

it('refuses what no peer of ours sends, on the header alone', () => {
  for (const hex of ['0900000000000001', '0000000000000001', '0200400100000001', '0300000100000001', '0500000300000001', '0600000800000001', '0200000200000000', '01ffffff00000001', '0400000100000001']) {
    assert.throws(() => readAll([Buffer.from(hex, 'hex')]), /gateway frame: /, hex);
  }
  assert.throws(() => readAll([Buffer.from('0100000800000001' + '0900000000000000', 'hex')]), /stream kind 9/);
  assert.throws(() => readAll([Buffer.from('0100000800000001' + '0200000900000000', 'hex')]), /do not add up/);
});

const frames = fc.oneof(
  fc.record({ kind: fc.constantFrom(...(Object.keys(StreamKind) as StreamKindName[])), name: fc.string({ maxLength: 60 }), caller: fc.string({ maxLength: 60 }), serial: fc.string({ maxLength: 40 }), id: fc.integer({ min: 1, max: 0xffff_ffff }) }).map(({ id, ...open }) => ({ bytes: encodeOpen(id, open), said: ['open', id, open] as unknown[] })),
  fc.record({ id: fc.integer({ min: 1, max: 0xffff_ffff }), data: fc.uint8Array({ minLength: 1, maxLength: 200 }) }).map(({ id, data }) => ({ bytes: encodeData(id, Buffer.from(data)), said: ['data', id, Buffer.from(data).toString('hex')] as unknown[] })),
  fc.record({ id: fc.integer({ min: 1, max: 0xffff_ffff }), code: fc.constantFrom(...(Object.keys(Code) as CodeName[])), reason: fc.string({ maxLength: 100 }) }).map(({ id, code, reason }) => ({ bytes: encodeReset(id, code, reason), said: ['reset', id, code, reason] as unknown[] })),
);

it('means the same however the bytes are cut', () => {
  fc.assert(
    fc.property(fc.array(frames, { maxLength: 12 }), fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1 }), (list, sizes) => {
      const all = Buffer.concat(list.map((f) => f.bytes));
      const chunks: Buffer[] = [];
      for (let at = 0, i = 0; at < all.length; i++) {
        const size = sizes[i % sizes.length] ?? 1;
        chunks.push(all.subarray(at, at + size));
        at += size;
      }
      assert.equal(readAll(chunks), readAll([all]));
      if (new Set(list.map((f) => f.said[1])).size === list.length) assert.equal(readAll([all]), list.map((f) => f.said));
    }),
  );
});

it('keeps random bytes from doing anything but end the session', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      try {
        readAll([Buffer.from(bytes)]);
      } catch (error) {
        assert.match((error as Error).message, /gateway frame: /);
      }
    }),
  );
  assert.is(MAX_DATA, 16_384);
});

it('reads queue records whole or not at all', () => {
  const record = encodeRecord({ sequence: 7, topic: 'telemetry/s/x', payload: Buffer.from('abc') });
  assert.is(record.toString('hex'), `0000001a${record.subarray(4, 8).toString('hex')}0000000000000007000d${Buffer.from('telemetry/s/x').toString('hex')}616263`);
  assert.equal(decodeRecord(record, 0), { message: { sequence: 7, topic: 'telemetry/s/x', payload: Buffer.from('abc') }, next: record.length });
  for (let cut = 0; cut < record.length; cut++) assert.is(decodeRecord(record.subarray(0, cut), 0), null);
  for (let at = 0; at < record.length; at++) {
    const damaged = Buffer.from(record);
    damaged[at] = (damaged[at] ?? 0) ^ 1;
    assert.is(decodeRecord(damaged, 0), null, `byte ${at}`);
  }
});

run();
