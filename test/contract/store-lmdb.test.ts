import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import * as assert from 'uvu/assert';
import { isMeshError } from '../../api/errors.ts';
import { silentLogger } from '../../base/log.ts';
import { openLmdbStore } from '../../cloud/store/lmdb.ts';
import { suite } from '../kit/suite.ts';
import type { CaseContext } from '../kit/suite.ts';
import { storeContract } from './store.ts';

const { it, run } = suite('store on LMDB', { timeoutMs: 30_000 });

function folder(t: CaseContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'px-store-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

storeContract(it, async (t) => {
  const store = await openLmdbStore({ path: join(folder(t), 'db'), log: silentLogger });
  t.after(() => store.close());
  return store;
});

it('keeps revisions, history and leases over a restart', async (t) => {
  const path = join(folder(t), 'db');
  const first = await openLmdbStore({ path, log: silentLogger });
  const lease = await first.grantLease(60_000);
  const { revision } = await first.txn([], [{ op: 'put', key: '/a', value: Buffer.from('1'), lease }]);
  await first.close();
  const second = await openLmdbStore({ path, log: silentLogger });
  t.after(() => second.close());
  assert.is(await second.revision(), revision);
  await second.keepAlive(lease);
  for await (const batch of second.watch({ prefix: '/', after: revision - 1 }, t.signal)) {
    assert.equal(batch.events.map((e) => e.key), ['/a']);
    break;
  }
});

it('says that the disk is full, keeps what it acknowledged, and writes again when there is room', (t) => {
  const child = spawnSync('unshare', ['-m', 'sh', '-c', 'mount -t tmpfs -o size=6m none "$1" && exec "$2" "$3" "$1"', 'sh', folder(t), process.execPath, join(import.meta.dirname, '../kit/full-disk-process.ts')], { encoding: 'utf8' });
  assert.is(child.status, 0, child.stderr);
  const { error, acknowledged, found, afterRoom } = JSON.parse(child.stdout) as { readonly error: { readonly kind: string; readonly message: string; readonly next: string }; readonly acknowledged: number; readonly found: number; readonly afterRoom: boolean };
  assert.is(error.kind, 'disk-full');
  assert.match(error.message, /the disk is full/);
  assert.match(error.next, /make room/);
  assert.ok(acknowledged > 20, `${acknowledged} writes went before`);
  assert.is(found, acknowledged);
  assert.ok(afterRoom);
});

it('keeps history within its bytes, forgets the oldest first, and goes on from what it kept', async (t) => {
  const path = join(folder(t), 'db');
  const store = await openLmdbStore({ path, log: silentLogger, historyBytes: 2 * 2 ** 20 });
  t.after(() => store.close());
  const big = Buffer.alloc(20_000, 'x');
  const first = await store.revision();
  for (let i = 0; i < 40; i++) await Promise.all(Array.from({ length: 10 }, (_, k) => store.txn([], [{ op: 'put', key: `/k/${k}`, value: big }])));
  const last = await store.revision();
  assert.throws(() => store.watch({ prefix: '/', after: first }, t.signal), (e: unknown) => isMeshError(e, 'expired'));
  let kept = 0;
  for (let r = last; r > first; r--) {
    if (await store.range({ prefix: '/', revision: r }).then(() => false, () => true)) break;
    kept += 1;
  }
  // 40,000 bytes a revision: what was there before, and what is there now.
  assert.ok(kept >= 35 && kept <= 70, `${kept} revisions of history`);
  assert.is((await store.range({ prefix: '/' })).entries.length, 10);
});

const FULL = `
import { openLmdbStore } from ${JSON.stringify(join(import.meta.dirname, '..', '..', 'cloud', 'store', 'lmdb.ts'))};
const quiet = { debug() {}, info() {}, warn() {}, error() {}, child() { return quiet; } };
const store = await openLmdbStore({ path: process.argv[1], log: quiet });
const put = (key, bytes) => store.txn([{ key, is: 'absent' }], [{ op: 'put', key, value: Buffer.alloc(bytes) }]).then((r) => r.ok, (e) => e.kind);
const said = [await put('/before', 1), ...await Promise.all([put('/big', 2 ** 23), put('/beside', 1), put('/beside', 1)]), await put('/later', 1)];
const seen = [];
for await (const batch of store.watch({ prefix: '/', after: 1 }, new AbortController().signal)) {
  seen.push(...batch.events.map((e) => e.key));
  if (seen.includes('/later')) break;
}
const there = (await store.range({ prefix: '/' })).entries.map((e) => e.key);
await store.close();
console.log(JSON.stringify({ said, seen, there }));
`;

it('writes nothing of a commit that does not fit, tells each writer of it, and goes on', (t) => {
  // A file may be 4 MiB here. The big write and the two beside it are one turn, so one commit.
  const run = ['--no-warnings', '--input-type=module-typescript', '-e', FULL, join(folder(t), 'db')];
  const out = execFileSync('/bin/bash', ['-c', 'trap "" XFSZ; ulimit -f 4096; exec "$0" "$@"', process.execPath, ...run], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  assert.equal(JSON.parse(out), { said: [true, 'io', 'io', 'io', true], seen: ['/before', '/later'], there: ['/before', '/later'] });
});

it('checks writes to one key one after the other, although none waits for the disk before the next is called', async (t) => {
  const store = await openLmdbStore({ path: join(folder(t), 'db'), log: silentLogger });
  t.after(() => store.close());
  const made = await Promise.all(Array.from({ length: 20 }, (_, i) => store.txn([{ key: '/one', is: 'absent' }], [{ op: 'put', key: '/one', value: Buffer.from(String(i)) }, { op: 'put', key: `/i/${i}`, value: Buffer.from('') }])));
  assert.is(made.filter((r) => r.ok).length, 1);
  for (const r of made) if (!r.ok) assert.is(Buffer.from(r.current?.value ?? '').toString(), '0');
  await Promise.all(Array.from({ length: 20 }, (_, i) => store.txn([], [{ op: 'put', key: '/two', value: Buffer.from(String(i)) }])));
  assert.is(Buffer.from((await store.get('/two'))?.value ?? '').toString(), '19');
  assert.equal((await store.range({ prefix: '/i/' })).entries.map((e) => e.key), ['/i/0']);
});

const WRITER = `
import { openLmdbStore } from ${JSON.stringify(join(import.meta.dirname, '..', '..', 'cloud', 'store', 'lmdb.ts'))};
const quiet = { debug() {}, info() {}, warn() {}, error() {}, child() { return quiet; } };
const store = await openLmdbStore({ path: process.argv[1], log: quiet });
let n = 0;
await Promise.all(Array.from({ length: 16 }, async () => {
  for (;;) { const i = n++; const r = await store.txn([], [{ op: 'put', key: '/k/' + i, value: Buffer.from(String(i)) }]); process.stdout.write(i + ' ' + r.revision + '\\n'); }
}));
`;

it('has everything that it acknowledged after kill -9 in the middle of writing', async (t) => {
  const path = join(folder(t), 'db');
  const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', WRITER, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  const acknowledged: string[] = [];
  const gone = new Promise((r) => child.once('exit', r));
  for await (const line of createInterface({ input: child.stdout })) {
    acknowledged.push(line);
    if (acknowledged.length === 1_500) child.kill('SIGKILL');
  }
  await gone;
  const store = await openLmdbStore({ path, log: silentLogger });
  t.after(() => store.close());
  assert.ok(acknowledged.length >= 1_500);
  for (const line of acknowledged) {
    const [i = '', revision] = line.split(' ');
    const entry = await store.get(`/k/${i}`);
    assert.equal([entry === null ? null : Buffer.from(entry.value).toString(), entry?.modRevision], [i, Number(revision)]);
  }
});

run();
