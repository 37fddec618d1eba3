/** Stock kubectl against a real server over HTTPS: what people type, and what it prints. */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import * as assert from 'uvu/assert';
import { Resources } from '../../api/resources.ts';
import { writeKubeconfig } from '../../api/kubeconfig.ts';
import { testApiServer, type TestApiServer } from '../kit/api-server.ts';
import { suite, type CaseContext } from '../kit/suite.ts';

const { it, skip, run } = suite('kubectl', { timeoutMs: 40_000 });

interface Ran {
  readonly code: number;
  readonly out: string;
}

class Kubectl {
  readonly #home = mkdtempSync(join(tmpdir(), 'px-kubectl-'));
  readonly api: TestApiServer;

  constructor(api: TestApiServer) {
    this.api = api;
  }

  static async open(t: CaseContext): Promise<Kubectl> {
    const api = await testApiServer(t, {
      podAgents: {
        ask: ({ pod }) => Promise.resolve(Readable.from([`log of ${String((pod['metadata'] as { name?: string }).name)}\n`]) as IncomingMessage),
      },
    });
    await api.server.localClient().create(Resources.Tenant, { apiVersion: 'v1', kind: 'Tenant', metadata: { name: 'acme' } });
    const k = new Kubectl(api);
    t.after(() => rmSync(k.#home, { recursive: true, force: true }));
    await writeKubeconfig(k.#path('config'), api.access('admin', ['system:masters'], '/tenants/acme'));
    await writeKubeconfig(k.#path('user'), api.access('bob', ['tenant:acme']));
    return k;
  }

  #path(name: string): string {
    return join(this.#home, name);
  }

  file(name: string, content: string): string {
    writeFileSync(this.#path(name), content);
    return this.#path(name);
  }

  #args(args: readonly string[], config: string): readonly string[] {
    return ['--kubeconfig', this.#path(config), '--cache-dir', this.#path('cache'), ...args];
  }

  run(args: string, config = 'config'): Promise<Ran> {
    return new Promise((resolve) => {
      execFile('kubectl', this.#args(args.match(/'[^']*'|\S+/g)?.map((a) => a.replace(/^'|'$/g, '')) ?? [], config), { env: { ...process.env, HOME: this.#home }, timeout: 30_000 }, (error, stdout, stderr) => {
        resolve({ code: error === null ? 0 : Number(error.code ?? 1), out: stdout + stderr });
      });
    });
  }

  async ok(args: string, pattern: RegExp, config = 'config'): Promise<string> {
    const { code, out } = await this.run(args, config);
    assert.is(code, 0, `kubectl ${args}: ${out}`);
    assert.match(out, pattern);
    return out;
  }

  async refused(args: string, pattern: RegExp, config = 'config'): Promise<void> {
    const { code, out } = await this.run(args, config);
    assert.is.not(code, 0, `kubectl ${args} should fail: ${out}`);
    assert.match(out, pattern);
  }

  follow(args: string): ChildProcess {
    return spawn('kubectl', this.#args(args.split(' '), 'config'), { env: { ...process.env, HOME: this.#home }, stdio: ['ignore', 'pipe', 'inherit'] });
  }
}

const WORKLOADS = `
apiVersion: v1
kind: Pod
metadata: {name: vm1, labels: {app: vm}}
spec:
  vpc: shop
  virtualMachine: {name: vm1, image: proxima-vm, resources: {requests: {cpu: 200m, memory: 128Mi}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: "web:1", ports: [{containerPort: 80}]}
`;

function cases(): void {
  it('applies containers and a VM twice, changes them, and deletes them', async (t) => {
    const k = await Kubectl.open(t);
    const file = k.file('w.yaml', WORKLOADS);
    await k.ok(`apply -f ${file}`, /pod\/vm1 created\ndeployment.apps\/web created/);
    await k.ok(`apply -f ${file}`, /pod\/vm1 unchanged\ndeployment.apps\/web unchanged/);
    k.file('w.yaml', WORKLOADS.replace('app: vm}', 'app: vm2}').replace('web:1', 'web:2'));
    await k.ok(`apply -f ${file}`, /pod\/vm1 configured\ndeployment.apps\/web configured/);
    await k.ok('get deploy web -o wide', /NAME +READY +UP-TO-DATE +AVAILABLE +AGE +CONTAINERS +IMAGES +SELECTOR\nweb +0\/2 .* web:2 +app=web/);
    await k.ok('get pods -A --show-labels', /NAMESPACE +NAME +READY +STATUS.*\ndefault +vm1 +0\/1 +Pending.*app=vm2/);
    await k.ok('logs vm1', /^log of vm1$/m);
    await k.ok(`delete -f ${file}`, /pod "vm1" deleted/);
    await k.ok('get all', /No resources found/);
  });

  it('labels, patches, scales and describes', async (t) => {
    const k = await Kubectl.open(t);
    await k.ok(`apply -f ${k.file('w.yaml', WORKLOADS)}`, /created/);
    await k.ok('label deploy web tier=front', /labeled/);
    await k.ok('annotate deploy web note=hello', /annotated/);
    await k.ok('scale deploy web --replicas=5', /scaled/);
    await k.ok('set image deploy/web web=web:3', /image updated/);
    await k.ok(`patch deploy web --type=merge -p {"spec":{"paused":true}}`, /patched/);
    await k.ok(`patch deploy web --type=json -p [{"op":"remove","path":"/spec/paused"}]`, /patched/);
    await k.ok('get deploy -l tier=front -o jsonpath={.items[0].spec.replicas}/{.items[0].spec.template.spec.containers[0].image}', /^5\/web:3/);
    await k.ok('describe deploy web', /Name: +web[\s\S]*Replicas: +5 desired[\s\S]*Image: +web:3/);
    await k.ok('describe pod vm1', /Status: +Pending[\s\S]*Image: +proxima-vm/);
    await k.ok('get pod vm1 -o yaml', /tenant: acme[\s\S]*virtualMachine:/);
  });

  it('creates typed objects, whatever encoding this kubectl has', async (t) => {
    const k = await Kubectl.open(t);
    await k.ok('create namespace dev', /namespace\/dev created/);
    await k.ok('create configmap c --from-literal=a=b -n dev', /configmap\/c created/);
    await k.ok('create secret generic s --from-literal=a=b -n dev', /secret\/s created/);
    await k.ok('create deployment d --image=x:1 --replicas=2 -n dev', /deployment.apps\/d created/);
    await k.ok('get cm,secret -n dev -o jsonpath={.items[*].data.a}', /^b Yg==/);
    await k.ok('auth can-i create pods', /^yes/);
    await k.ok('delete ns dev', /namespace "dev" deleted/);
    await k.refused('get ns dev', /namespaces "dev" not found/);
  });

  it('explains and lists what is served, and refuses unknown fields with their path', async (t) => {
    const k = await Kubectl.open(t);
    await k.ok('api-resources', /vpcs +mizar.com\/v1 +false +Vpc/);
    await k.ok('explain pod.spec.virtualMachine.image', /FIELD: image <string>/);
    await k.ok('explain placementpolicy.spec.latency', /milliseconds/);
    const policy = (spec: string): string => k.file('p.yaml', `apiVersion: mesh.proxima.io/v1\nkind: PlacementPolicy\nmetadata: {name: p}\nspec: ${spec}\n`);
    await k.refused(`apply -f ${policy('{instances: {min: 1, max: 2}, latencyy: []}')}`, /unknown field "spec.latencyy"/);
    await k.refused(`apply -f ${policy('{instances: {min: 3, max: 2}}')}`, /spec.instances.min: Invalid value: 3 is more than spec.instances.max \(2\)/);
    await k.refused(`apply -f ${k.file('v.yaml', 'apiVersion: mizar.com/v1\nkind: Vpc\nmetadata: {name: v}\nspec: {cidr: 10.0.0.0/33}\n')}`, /spec.cidr: Invalid value/);
    await k.refused('get pods --field-selector=spec.nonsense=1', /field label not supported/);
  });

  it('keeps a tenant in its own tenant', async (t) => {
    const k = await Kubectl.open(t);
    await k.ok('create configmap mine --from-literal=a=b', /created/, 'user');
    await k.ok('get cm mine', /mine/);
    await k.refused('get nodes', /Forbidden/, 'user');
    await k.refused('get --raw /api/v1/tenants/system/namespaces', /Forbidden|forbidden/, 'user');
    await k.refused('get --raw /api/v1/tenants/all/pods', /Forbidden|forbidden/, 'user');
    await k.refused(`apply -f ${k.file('v.yaml', 'apiVersion: mizar.com/v1\nkind: Vpc\nmetadata: {name: v}\nspec: {cidr: 10.0.0.0/16, vni: 7}\n')}`, /spec.vni: Forbidden/, 'user');
  });

  it('prints changes while it watches', async (t) => {
    const k = await Kubectl.open(t);
    const watcher = k.follow('get cm -w');
    t.after(() => watcher.kill());
    let printed = '';
    watcher.stdout?.on('data', (d: Buffer) => (printed += d.toString()));
    const client = k.api.server.localClient();
    const object = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'first', tenant: 'acme', namespace: 'default' } };
    await client.create(Resources.ConfigMap, object);
    while (!printed.includes('first')) await new Promise((r) => setTimeout(r, 20));
    await client.create(Resources.ConfigMap, { ...object, metadata: { ...object.metadata, name: 'second' } });
    while (!printed.includes('second')) await new Promise((r) => setTimeout(r, 20));
    assert.match(printed, /^NAME +DATA +AGE\nfirst +0 +\d+s\nsecond +0 +\d+s/);
  });
}

let version = '';
try {
  version = execFileSync('kubectl', ['version', '--client'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
} catch {
  version = ''; // said below
}
if (version === '') skip('all of it', 'there is no kubectl on this machine');
else cases();

run();
