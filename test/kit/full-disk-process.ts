/** Writes to an embedded store on a small disk until it is full, makes room, writes again; one line of JSON says what came of it. */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isMeshError } from '../../api/errors.ts';
import { silentLogger } from '../../base/log.ts';
import { openLmdbStore } from '../../cloud/store/lmdb.ts';

const dir = process.argv[2] ?? '';
const filler = join(dir, 'filler');
writeFileSync(filler, Buffer.alloc(2 * 2 ** 20));
const store = await openLmdbStore({ path: join(dir, 'db'), log: silentLogger });
const put = (key: string): Promise<unknown> => store.txn([], [{ op: 'put', key, value: Buffer.alloc(20_000, 1) }]);
const acknowledged: string[] = [];
let failed: unknown = null;
for (let i = 0; failed === null; i += 4) {
  const keys = Array.from({ length: 4 }, (_, k) => `/x/${i + k}`);
  const results = await Promise.allSettled(keys.map((key) => put(key)));
  for (const [k, r] of results.entries()) {
    if (r.status === 'fulfilled') acknowledged.push(keys[k] ?? '');
    else failed ??= r.reason;
  }
}
if (!isMeshError(failed)) throw failed;
const there = new Set((await store.range({ prefix: '/x/' })).entries.map((e) => e.key));
rmSync(filler);
const afterRoom = await put('/y').then(() => true, () => false);
console.log(JSON.stringify({ error: { kind: failed.kind, message: failed.message, next: failed.next }, acknowledged: acknowledged.length, found: acknowledged.filter((key) => there.has(key)).length, afterRoom }));
await store.close();
