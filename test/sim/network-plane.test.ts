/**
 * Two regions with their planes, sites that use the same substrate addresses, two tenants whose VPCs overlap, and 24 droplets, in one process: pods come and
 * go, droplets are lost and return, nodes flicker, planes are killed in the middle of a write. Then everything has to add up.
 */
import * as assert from 'uvu/assert';
import type { Client, ListOptions, ResourceId } from '../../api/client.ts';
import { isMeshError, MeshError } from '../../api/errors.ts';
import type { Lease, Node, Pod } from '../../api/kinds/core.ts';
import type { Site } from '../../api/kinds/mesh.ts';
import type { Bouncer, Divider, Droplet, Endpoint, Subnet, Vpc } from '../../api/kinds/mizar.ts';
import type { KubeObject } from '../../api/object.ts';
import { Resources } from '../../api/resources.ts';
import { silentLogger } from '../../base/log.ts';
import { spiffe } from '../../certs/names.ts';
import { CLAIM_LABEL } from '../../cloud/mizar/claims.ts';
import { type GoalMap, goalFor, goalMap } from '../../cloud/mizar/goal.ts';
import { parseApplicationIds, type ConfigMap } from '../../cloud/mizar/names.ts';
import { createNetworkPlane, type NetworkPlane } from '../../cloud/mizar/network-plane.ts';
import { SYSTEM, viewOf, type View } from '../../cloud/mizar/world.ts';
import { DropletClient } from '../kit/droplet-client.ts';
import { memoryClient } from '../kit/memory-client.ts';
import { meshTls, type Tls } from '../kit/mesh-tls.ts';
import { suite } from '../kit/suite.ts';
import { droplet, front, node, pod, relaySpec, site, subnet, vpc } from '../unit/mizar/kit.ts';

const { it, run } = suite('two network planes under churn', { timeoutMs: 60_000 });
const TENANTS = ['acme', 'beta'] as const;
const STEPS = 240;
const PER_SITE = 4;
const mesh = meshTls();
process.on('exit', () => mesh.remove());

function randomFrom(seed: number): () => number {
  let s = seed;
  return () => {
    s = (Math.imul(s ^ (s >>> 15), 0x2c1b3c6d) + 0x9e3779b9) | 0;
    return ((s ^ (s >>> 13)) >>> 0) / 2 ** 32;
  };
}

const bare = <T extends KubeObject>(o: T, tenant?: string): T => {
  const { status: _, ...rest } = o as T & { status?: unknown };
  const { uid: __, ...metadata } = o.metadata;
  return { ...rest, metadata: { ...metadata, ...(tenant === undefined ? {} : { tenant }) } } as unknown as T;
};
const unlessGone = (work: Promise<unknown>): Promise<unknown> =>
  work.catch((error: unknown) => {
    if (!isMeshError(error, 'not-found') && !isMeshError(error, 'already-exists')) throw error;
  });

/** A client whose process can be killed: from then on nothing it asks for happens. */
function mortal(client: Client): { readonly client: Client; kill(): void } {
  let dead = false;
  const proxy = new Proxy(client, {
    get: (target, key) => {
      const value: unknown = Reflect.get(target, key, target);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) => {
        if (dead) throw new MeshError('unavailable', 'this process is dead');
        return (value as (...a: unknown[]) => unknown).apply(target, args);
      };
    },
  });
  return { client: proxy, kill: () => (dead = true) };
}

/** A node's transit daemon: keeps its state while the plane is away, and dials again. */
class SimDroplet {
  readonly name: string;
  readonly #tls: Tls;
  readonly #port: () => number;
  #client: DropletClient | null = null;
  #stopped = false;

  constructor(name: string, at: string, port: () => number) {
    this.name = name;
    this.#tls = mesh.issue(spiffe.node(at, name));
    this.#port = port;
    this.#dial({ version: 0, goal: new Map() });
  }
  get goal(): GoalMap {
    return this.#client?.goal ?? new Map();
  }
  #dial(from: { readonly version: number; readonly goal: GoalMap }): void {
    const c = new DropletClient({ port: this.#port(), droplet: this.name, tls: this.#tls, from });
    this.#client = c;
    void c.ended.then(() => {
      if (!this.#stopped) setTimeout(() => (this.#stopped ? undefined : this.#dial({ version: c.version, goal: c.goal })), 20);
      c.close();
    });
  }
  stop(): void {
    this.#stopped = true;
    this.#client?.close();
  }
}

class SimRegion {
  readonly name: string;
  readonly client: Client;
  readonly sites: readonly string[];
  readonly droplets = new Map<string, SimDroplet>();
  readonly specs: readonly Droplet[];
  readonly pods = new Set<string>();
  #plane: NetworkPlane | null = null;
  #kill: () => void = () => undefined;
  #port = 1;

  constructor(name: string, client: Client, index: number) {
    this.name = name;
    this.client = client;
    this.sites = [`zone-${name}`, `edge-${name}-1`, `edge-${name}-2`];
    this.specs = this.sites.flatMap((s, i) =>
      Array.from({ length: PER_SITE }, (_, k) =>
        droplet(`${s}-n${k}`, s, `192.168.50.${k + 1}`, k > 0 ? {} : { relay: relaySpec(`100.64.${index * 10 + i}.1`, i === 0 ? `172.16.${index}.1:51820` : undefined), front: { interface: 'eth1', address: `172.16.${index}.${i + 1}` } }),
      ),
    );
  }

  async fill(all: readonly SimRegion[]): Promise<void> {
    const put = async (resource: ResourceId, o: KubeObject, tenant?: string): Promise<unknown> => this.client.create(resource, bare(o, tenant));
    for (const [i, s] of this.sites.entries()) await put(Resources.Site, site(s, i === 0 ? 'zone' : 'edge', this.name));
    for (const d of this.specs) {
      await put(Resources.Node, node(d.metadata.name, d.spec.site));
      await put(Resources.Droplet, d);
    }
    for (const other of all) {
      if (other === this) continue;
      for (const d of other.specs.filter((x) => x.spec.relay !== undefined)) {
        const labels = { 'mesh.proxima.io/foreign': 'true', 'topology.kubernetes.io/region': other.name, 'mesh.proxima.io/site-kind': d.spec.site.startsWith('zone') ? 'zone' : 'edge' };
        await put(Resources.Droplet, { ...d, metadata: { ...d.metadata, labels } });
      }
    }
    for (const [t, tenant] of TENANTS.entries()) {
      await put(Resources.Vpc, vpc('net', '10.8.0.0/16', { vni: 50 + t }), tenant);
      for (const [i, s] of all.flatMap((r) => r.sites).entries()) await put(Resources.Subnet, subnet(`net-${s}`, 'net', `10.8.${i}.0/27`, s, { virtual: !this.sites.includes(s), bouncers: 2 }), tenant);
    }
    for (const s of this.sites) await put(Resources.Endpoint, front(`front-${s}`, 'net', s, '172.16.0.1', 'web'), 'acme');
  }

  async up(): Promise<void> {
    const process = mortal(this.client);
    const tls = mesh.issue(spiffe.region(this.name));
    const plane = createNetworkPlane({ client: process.client, region: this.name, grpc: { host: '127.0.0.1', port: 0, tls }, log: silentLogger });
    await plane.start(new AbortController().signal);
    this.#plane = plane;
    this.#kill = () => process.kill();
    this.#port = plane.grpcPort;
  }

  async killAndRestart(): Promise<void> {
    this.#kill();
    await this.#plane?.stop();
    await this.up();
  }

  async down(): Promise<void> {
    for (const d of this.droplets.values()) d.stop();
    await this.#plane?.stop();
  }

  join(d: Droplet): void {
    this.droplets.set(d.metadata.name, new SimDroplet(d.metadata.name, d.spec.site, () => this.#port));
  }

  async all<T extends KubeObject>(resource: ResourceId, options: ListOptions = { tenant: 'all' }): Promise<readonly T[]> {
    return (await this.client.list<T>(resource, options)).items;
  }

  async view(): Promise<View> {
    const maps = await this.all<ConfigMap>(Resources.ConfigMap, SYSTEM);
    return viewOf({
      region: this.name,
      sites: await this.all<Site>(Resources.Site, {}),
      nodes: await this.all<Node>(Resources.Node, {}),
      pods: await this.all<Pod>(Resources.Pod),
      vpcs: await this.all<Vpc>(Resources.Vpc),
      subnets: await this.all<Subnet>(Resources.Subnet),
      droplets: await this.all<Droplet>(Resources.Droplet, {}),
      bouncers: await this.all<Bouncer>(Resources.Bouncer),
      dividers: await this.all<Divider>(Resources.Divider),
      endpoints: await this.all<Endpoint>(Resources.Endpoint),
      clientRegions: [],
      applications: parseApplicationIds(maps.find((m) => m.metadata.name === 'application-ids')),
    });
  }
}

async function step(r: SimRegion, random: () => number, n: number): Promise<void> {
  const pick = <T>(items: readonly T[]): T | undefined => items[Math.floor(random() * items.length)];
  const dice = random();
  const d = pick(r.specs)!;
  if (dice < 0.55) {
    const tenant = pick(TENANTS)!;
    const name = `p${n}`;
    await r.client.create(Resources.Pod, bare(pod(name, d.metadata.name, { vpc: 'net', containers: [{ name: 'c', image: 'busybox' }] }), tenant));
    r.pods.add(`${tenant}/${name}`);
  } else if (dice < 0.8) {
    const [tenant = '', name = ''] = (pick([...r.pods]) ?? '').split('/');
    if (name === '') return;
    const place = { tenant, namespace: 'default' };
    if (random() < 0.3) await unlessGone(r.client.patch(Resources.Pod, place, name, { status: { phase: 'Succeeded' } }, { subresource: 'status' }));
    else await unlessGone(r.client.delete(Resources.Pod, place, name, { gracePeriodSeconds: 0 }));
    r.pods.delete(`${tenant}/${name}`);
  } else if (dice < 0.88) {
    const lost = r.droplets.get(d.metadata.name);
    lost?.stop();
    r.droplets.delete(d.metadata.name);
    if (lost !== undefined) await unlessGone(r.client.delete(Resources.Droplet, { tenant: null, namespace: null }, d.metadata.name));
  } else if (dice < 0.94) {
    const missing = r.specs.find((x) => !r.droplets.has(x.metadata.name));
    if (missing === undefined) return;
    await r.client.create(Resources.Droplet, bare(missing));
    r.join(missing);
  } else if (dice < 0.97) {
    const status = random() < 0.5 ? 'True' : 'Unknown';
    await r.client.patch(Resources.Node, { tenant: null, namespace: null }, d.metadata.name, { status: { conditions: [{ type: 'Ready', status }] } }, { subresource: 'status' });
  } else await r.killAndRestart();
}

function assertNoCollision(endpoints: readonly Endpoint[]): void {
  const seen = new Set<string>();
  for (const e of endpoints) {
    if (e.spec.type !== 'simple') continue;
    const key = `${e.metadata.tenant}/${e.spec.vpc}/${e.spec.address}`;
    assert.not(seen.has(key), `${key} is given twice`);
    seen.add(key);
  }
}

/** What is not yet as it has to be; null when all is. */
async function unsettled(r: SimRegion): Promise<string | null> {
  const view = await r.view();
  const simple = [...view.simpleByDroplet.values()].flat();
  const missing = [...r.pods].filter((p) => !view.endpoints.has(p.replace('/', '/default.')));
  if (missing.length > 0) return `${r.name}: no endpoint for ${missing.join(', ')}`;
  if (simple.length !== r.pods.size) return `${r.name}: ${simple.length} endpoints for ${r.pods.size} pods`;
  const claims = await r.all<Lease>(Resources.Lease, { ...SYSTEM, labelSelector: `${CLAIM_LABEL}=address` });
  if (claims.length !== simple.length) return `${r.name}: ${claims.length} claims for ${simple.length} endpoints`;
  for (const [name, d] of r.droplets) {
    const wanted = goalMap(goalFor(view.droplets.get(name)!, view));
    for (const [key, entry] of wanted) if (JSON.stringify(d.goal.get(key)) !== JSON.stringify(entry)) return `${name} lacks or has an old ${key}`;
    for (const key of d.goal.keys()) if (!wanted.has(key)) return `${name} still has ${key}`;
  }
  for (const s of r.sites) {
    const alive = (view.dropletsBySite.get(s) ?? []).length;
    for (const t of TENANTS) {
      const n = view.bouncersBySubnet.get(`${t}/net-${s}`)?.length ?? 0;
      if (n < Math.min(1, alive) || n > 2) return `${t}/net-${s} has ${n} bouncers on ${alive} droplets`;
    }
  }
  const waiting = simple.find((e) => r.droplets.has(e.spec.droplet) && e.status?.phase !== 'Provisioned');
  return waiting === undefined ? null : `${waiting.metadata.name} is ${waiting.status?.phase}`;
}

async function simulate(seed: number): Promise<void> {
  const random = randomFrom(seed);
  const regions = await Promise.all(['west', 'east'].map(async (name, i) => new SimRegion(name, await memoryClient({ tenants: ['system', ...TENANTS] }), i + 1)));
  try {
    for (const r of regions) await r.fill(regions);
    for (const r of regions) await r.up();
    for (const r of regions) r.specs.forEach((d) => r.join(d));
    for (let n = 0; n < STEPS; n++) {
      await step(regions[n % 2]!, random, n);
      if (random() < 0.3) await new Promise((resolve) => setTimeout(resolve, random() * 20));
      if (n % 20 === 0) assertNoCollision((await Promise.all(regions.map((r) => r.all<Endpoint>(Resources.Endpoint)))).flat());
    }
    const deadline = Date.now() + 20_000;
    for (const r of regions) {
      let why = await unsettled(r);
      while (why !== null && Date.now() < deadline) {
        await new Promise((resolve) => setTimeout(resolve, 50));
        why = await unsettled(r);
      }
      assert.is(why, null, `seed ${seed}: ${why}`);
    }
    const endpoints = (await Promise.all(regions.map((r) => r.all<Endpoint>(Resources.Endpoint)))).flat();
    assertNoCollision(endpoints);
    assert.ok(endpoints.length > 40, 'something was simulated');
  } finally {
    for (const r of regions) await r.down();
  }
}

const SEEDS = [1, 20261];
let left = SEEDS.length;
for (const seed of SEEDS) {
  it(`settles without a collision, a leak or a stale entry (seed ${seed})`, async () => {
    try {
      await simulate(seed);
    } finally {
      left -= 1;
      // A server that shuts down while a client shakes hands leaves that pair of sockets open (grpc-js tracks sessions, not handshakes). Where
      // the server is a process, it takes its sockets along; here it would keep the test's process after the result is printed.
      if (left === 0) setTimeout(() => process.exit(), 2_000).unref();
    }
  });
}

run();
