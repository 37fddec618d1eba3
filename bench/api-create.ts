/**
 * Creating objects: creates through the API's own rules (validation, defaults, admission) into LMDB with fsync, by the in-process client,
 * against plain puts of the same bytes into a one-member etcd by etcd3, in turn, in one run. Both acknowledge only what is on disk.
 * Not equal: ours does the API's work but crosses no socket; etcd's number has gRPC over loopback in it. Neither has HTTPS.
 *
 *   node bench/api-create.ts [objects per round]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Etcd3 } from 'etcd3';
import { definitions } from '../api/definitions.ts';
import type { KubeObject } from '../api/object.ts';
import { Resources } from '../api/resources.ts';
import { silentLogger } from '../base/log.ts';
import { createApiServer } from '../cloud/apiserver/server.ts';
import { openLmdbStore } from '../cloud/store/lmdb.ts';
import { hasEtcd, startEtcd } from '../test/kit/etcd.ts';

const CLIENTS = 16;
const ROUNDS = 3;
const COUNT = Number(process.argv[2] ?? 4000);
const VALUE = 'x'.repeat(760); // with its metadata the stored object is about 1 KiB
const dir = mkdtempSync(join(tmpdir(), 'px-bench-'));
const teardowns: (() => unknown)[] = [() => rmSync(dir, { recursive: true, force: true })];

interface Result {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

async function measure(one: (i: number) => Promise<unknown>): Promise<Result> {
  const times: number[] = [];
  let next = 0;
  const started = performance.now();
  const client = async (): Promise<void> => {
    for (let i = next++; i < COUNT; i = next++) {
      const at = performance.now();
      await one(i);
      times.push(performance.now() - at);
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));
  const seconds = (performance.now() - started) / 1000;
  times.sort((a, b) => a - b);
  const at = (q: number): number => Number((times[Math.floor(q * (times.length - 1))] ?? 0).toFixed(2));
  return { perSecond: Math.round(COUNT / seconds), p50Ms: at(0.5), p99Ms: at(0.99) };
}

function check(name: string, there: number, expected: number): void {
  if (there !== expected) throw new Error(`${name}: ${there} objects are there, ${expected} were acknowledged`);
}

async function main(): Promise<void> {
  const store = await openLmdbStore({ path: join(dir, 'store.mdb'), log: silentLogger });
  const api = createApiServer({ store, kinds: Object.values(definitions), listen: { host: '127.0.0.1', port: 0 }, tls: null, auth: {}, log: silentLogger });
  await api.start(new AbortController().signal);
  teardowns.unshift(async () => {
    await api.stop();
    await store.close();
  });
  const client = api.localClient();
  const object = (name: string): KubeObject => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace: 'default', tenant: 'system' }, data: { value: VALUE } }) as KubeObject;
  const created = await client.create(Resources.ConfigMap, object('sample'));
  const bytes = Buffer.byteLength(JSON.stringify(created));
  const members = hasEtcd ? await startEtcd({ after: (f) => void teardowns.unshift(f) }, 1) : [];
  const etcd = members[0] === undefined ? null : new Etcd3({ hosts: members[0].url });
  if (etcd === null) console.log('etcd is not installed: no baseline');
  else teardowns.unshift(() => etcd.close());
  const body = Buffer.from(JSON.stringify(created));

  console.log(`${COUNT} objects of ${bytes} bytes a round, ${CLIENTS} clients, ${cpus().length} CPUs`);
  const ratios: number[] = [];
  const rounds: { ours: Result; etcd: Result | null }[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const runEtcd = async (): Promise<Result | null> => (etcd === null ? null : measure((i) => etcd.put(`/bench/${round}-${i}`).value(body).exec()));
    // Who goes first changes each round: the machine is shared and warms up.
    const early = round % 2 === 0 ? await runEtcd() : null;
    const ours = await measure((i) => client.create(Resources.ConfigMap, object(`r${round}-${i}`)));
    const theirs = early ?? (await runEtcd());
    check('LMDB', (await client.list(Resources.ConfigMap, { tenant: 'system', namespace: 'default' })).items.length, COUNT * (round + 1) + 1);
    if (etcd !== null) check('etcd', Number((await etcd.getAll().prefix('/bench/').count())), COUNT * (round + 1));
    rounds.push({ ours, etcd: theirs });
    if (theirs !== null) ratios.push(ours.perSecond / theirs.perSecond);
    const show = (name: string, r: Result): string => `${name} ${r.perSecond}/s p50 ${r.p50Ms} ms p99 ${r.p99Ms} ms`;
    console.log(`round ${round + 1}: ${show('API create on LMDB', ours)}${theirs === null ? '' : `; ${show('etcd put', theirs)}; ratio ${(ours.perSecond / theirs.perSecond).toFixed(2)}`}`);
  }
  ratios.sort((a, b) => a - b);
  console.log(JSON.stringify({ bench: 'api-create', node: process.version, objects: COUNT, bytes, clients: CLIENTS, rounds, medianRatio: ratios.length === 0 ? null : Number((ratios[Math.floor(ratios.length / 2)] ?? 0).toFixed(2)) }));
}

try {
  await main();
} finally {
  for (const f of teardowns) await f();
}
