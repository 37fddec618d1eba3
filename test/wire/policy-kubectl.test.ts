/** Stock kubectl against the real global API: policies are applied, explained, shown in columns, and refused with the field and the reason. */
import { execFile, execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { Allocation } from '../../api/kinds/mesh.ts';
import { Resources } from '../../api/resources.ts';
import { trafficIn } from '../../cli/input-files.ts';
import { testGlobal, type TestGlobal, type TestGlobalOptions } from '../kit/global-process.ts';
import { suite, type CaseContext } from '../kit/suite.ts';
import { waiter } from '../kit/until.ts';

const until = waiter({ withinMs: 20_000, everyMs: 100 });
const { it, skip, run } = suite('policies by kubectl', { timeoutMs: 90_000 });
const EXAMPLES = join(import.meta.dirname, '../../docs/examples');

interface Kubectl {
  readonly ok: (args: readonly string[], pattern: RegExp, input?: string) => Promise<string>;
  readonly refused: (args: readonly string[], pattern: RegExp, input?: string) => Promise<void>;
}

async function kubectlOf(t: CaseContext, o: readonly string[] = ['tenant:acme'], options: TestGlobalOptions = {}): Promise<{ readonly g: TestGlobal; readonly k: Kubectl }> {
  const g = await testGlobal(t, {}, options);
  const there = options.sites?.length ?? 2;
  await until('the sites are known', async () => (await g.client.list(Resources.Site)).items.length === there);
  const config = await g.kubeconfig('user.kubeconfig', o, '/tenants/acme');
  const call = (args: readonly string[], input = ''): Promise<{ readonly code: number; readonly out: string }> =>
    new Promise((resolve) => {
      const child = execFile('kubectl', ['--kubeconfig', config, '--cache-dir', join(g.dir, 'cache'), ...args], { env: { ...process.env, HOME: g.dir }, timeout: 30_000 }, (error, stdout, stderr) => resolve({ code: error === null ? 0 : Number(error.code ?? 1), out: stdout + stderr }));
      child.stdin?.end(input);
    });
  return {
    g,
    k: {
      async ok(args, pattern, input) {
        const { code, out } = await call(args, input);
        assert.is(code, 0, `kubectl ${args.join(' ')}: ${out}`);
        assert.ok(pattern.test(out), `kubectl ${args.join(' ')} does not match ${pattern.source}: ${out}`);
        return out;
      },
      async refused(args, pattern, input) {
        const { code, out } = await call(args, input);
        assert.is.not(code, 0, `kubectl ${args.join(' ')} should fail: ${out}`);
        assert.match(out, pattern);
      },
    },
  };
}

const policy = (spec: object, name = 'p'): string => JSON.stringify({ apiVersion: 'mesh.proxima.io/v1', kind: 'PlacementPolicy', metadata: { name }, spec });
const APPLY = ['apply', '-f', '-'] as const;

function cases(): void {
  it('refuses at apply what can never be, and takes what cannot be now', async (t) => {
    const { g, k } = await kubectlOf(t);
    const refusals: readonly (readonly [spec: object, message: RegExp])[] = [
      [{ instances: { min: 3, max: 2 } }, /spec\.instances\.min: Invalid value: 3 is more than spec\.instances\.max \(2\)/],
      [{ sites: { required: { names: ['west-9'] } } }, /spec\.sites\.required\.names\[0\]: Invalid value: no site "west-9"; there are ny-1, west-1/],
      [{ sites: { preferred: [{ regions: ['nort'], weight: 5 }] } }, /spec\.sites\.preferred\[0\]\.regions\[0\]: Invalid value: no region "nort"; there are east, west/],
      [{ latency: [{ percentile: 95, milliseconds: 20, clientRegion: 'london' }] }, /spec\.latency\[0\]\.milliseconds: Invalid value: 20 ms is less than light needs from client region london to the nearest allowed site \(55\.\d ms\)/],
      [{ latency: [{ percentile: 95, milliseconds: 20, clientRegion: 'new-york' }], sites: { forbidden: ['ny-1'] } }, /spec\.latency\[0\]\.milliseconds: .*nearest allowed site \(38\.\d ms\)/],
      [{ latency: [{ percentile: 95, milliseconds: 60, clientRegion: 'paris' }] }, /spec\.latency\[0\]\.clientRegion: Invalid value: no client region "paris"; there are new-york, london/],
      [{ unreachable: [{ action: 'move', afterSeconds: 9 }, { action: 'stay', afterSeconds: 60 }] }, /spec\.unreachable\[1\]\.action: Invalid value: "stay" comes after "move"/],
      [{ minTrusst: 1 }, /unknown field "spec\.minTrusst"/],
    ];
    await Promise.all(refusals.map(([spec, message]) => k.refused(APPLY, message, policy(spec))));
    await k.ok(APPLY, /p created/, policy({ latency: [{ percentile: 95, milliseconds: 20, clientRegion: 'new-york' }], instances: { min: 2 }, unreachable: { action: 'duplicate', afterSeconds: 5 } }));
    await k.ok(APPLY, /p unchanged/, policy({ latency: [{ percentile: 95, milliseconds: 20, clientRegion: 'new-york' }], instances: { min: 2 }, unreachable: { action: 'duplicate', afterSeconds: 5 } }));
    await k.refused(['patch', 'pp', 'p', '--type=merge', '-p', '{"spec":{"residency":["mars"]}}'], /spec\.residency\[0\]: Invalid value: no region "mars"/);
    await k.ok(['label', 'pp', 'p', 'team=web'], /labeled/);
    const greedy = { apiVersion: 'mesh.proxima.io/v1', kind: 'Application', metadata: { name: 'greedy' }, spec: { vpc: 'main', service: { port: 82 }, template: { spec: { containers: [{ name: 'a', image: 'a', resources: { requests: { cpu: '900' } } }] } }, policyRef: 'p' } };
    await k.ok(APPLY, /greedy created/, JSON.stringify(greedy));
    await until('it is shown as unmet', async () => /no site is allowed, reachable and has room|have a place/.test(JSON.stringify(await g.client.list(Resources.Application, { tenant: 'acme' }))));
    await k.ok(['get', 'app'], /NAME +KIND +PORT +POLICY +PHASE +MESSAGE +AGE\ngreedy +container +82 +p +(Unmet|Pending) +\S.*/);
  });

  it('explains every field, and shows in columns where things run and whether goals are met', async (t) => {
    const { g, k } = await kubectlOf(t);
    await Promise.all([
      k.ok(['explain', 'placementpolicy.spec.unreachable'], /FIELD: unreachable <\[\]Object>[\s\S]*rising delays[\s\S]*afterSeconds/),
      k.ok(['explain', 'placementpolicy.spec.failback.maxPerMinute'], /FIELD: maxPerMinute <number>[\s\S]*come back to one site/),
      k.ok(['explain', 'application.spec.policy.latency.milliseconds'], /Network round trip, in milliseconds/),
      k.ok(['explain', 'placement.status.goals', '--recursive'], /servedFrom/),
    ]);
    await k.ok(APPLY, /created/, policy({ latency: [{ percentile: 95, milliseconds: 20, clientRegion: 'new-york' }], instances: { min: 1, max: 3 }, sites: { required: { labels: { tier: 'gold' } } }, unreachable: [{ action: 'duplicate', afterSeconds: 5 }, { action: 'move', afterSeconds: 600 }] }, 'near'));
    await k.ok(['get', 'pp'], /NAME +LATENCY +MIN +MAX +SITES +UNREACHABLE +AGE\nnear +p95<=20ms@new-york +1 +3 +tier=gold +duplicate@5s,move@10m +\d+s/);
    await k.ok(APPLY, /created/, JSON.stringify({ apiVersion: 'mesh.proxima.io/v1', kind: 'Application', metadata: { name: 'web' }, spec: { vpc: 'main', service: { port: 80 }, template: { spec: { containers: [{ name: 'a', image: 'a' }] } }, policyRef: 'near' } }));
    await until('it is placed', async () => JSON.stringify(await g.client.list(Resources.Application, { tenant: 'acme' })).includes('"Placed"'));
    await k.ok(['get', 'app'], /web +container +80 +near +Placed +1 at ny-1 +\d+s/);
    await k.ok(['get', 'placements'], /NAME +WHERE +READY +GOALS +MOVED +MESSAGE +AGE\nweb +ny-1=1\S* +0\/1 +\S+ +\S+ +.*\d+s/);
    await k.refused(['delete', 'placement', 'web'], /tenants read it/);
  });

  it('places an allocation whole or not at all, and takes back what did not become ready', async (t) => {
    const { g, k } = await kubectlOf(t);
    const allocation = (name: string, port: number, cpu: string, spec: object = {}): string =>
      JSON.stringify({
        apiVersion: 'mesh.proxima.io/v1', kind: 'Allocation', metadata: { name },
        spec: { vpc: 'main', resourceGroups: ['g', 'h'].map((group, i) => ({ name: group, resources: [{ name: 'vm', service: { port: port + i }, flavors: [{ cpu: i === 0 ? '100m' : cpu, memory: '64Mi' }], template: { spec: { virtualMachine: { name: 'vm', image: 'proxima-vm' } } } }] })), ...spec },
      });
    await k.refused(APPLY, /spec\.selector\.regions\[0\]\.region: Invalid value: no region "mars"; there are east, west/, allocation('x', 9100, '1', { selector: { regions: [{ region: 'mars' }] } }));
    await k.refused(APPLY, /spec\.resourceGroups\[1\]\.resources\[0\]\.flavors\[0\]\.cpu: Invalid value/, allocation('x', 9100, 'many'));
    await k.ok(APPLY, /whole created/, allocation('whole', 9100, '200m'));
    await k.ok(APPLY, /toomuch created/, allocation('toomuch', 9200, '64'));
    const phases = async (): Promise<string> => JSON.stringify((await g.client.list<Allocation>(Resources.Allocation, { tenant: 'acme' })).items.map((a) => `${a.metadata.name} ${a.status?.phase ?? ''}`));
    await until('one is placed, one failed', async () => /toomuch Failed.*whole Placing/.test(await phases()));
    await k.ok(['get', 'alloc'], /NAME +GROUPS +STRATEGY +PHASE +READY +SITES +MESSAGE +AGE\ntoomuch +2 +centralize +Failed +0\/2 +<none> +group h: h\/vm: no single site has room for the whole group; .*…? +\d+s\nwhole +2 +centralize +Placing +0\/2 +\S+ +everything fits/);
    await k.ok(['get', 'alloc', 'toomuch', '-o', 'jsonpath={.status.groups[1].message}'], /which takes most of it, has \d+ of \d+ mCPU free, one instance needs 64000/);
    await k.ok(['get', 'app'], /^NAME.*\nwhole-g-vm +vm +9100.*\nwhole-h-vm +vm +9101[^\n]*\n$/);
    await k.refused(APPLY, /spec: Invalid value: field is immutable|field is immutable/, allocation('whole', 9100, '300m'));
    await k.ok(APPLY, /hasty created/, allocation('hasty', 9300, '100m', { placeWithinSeconds: 1 }));
    await until('it was taken back', async () => /hasty Failed/.test(await phases()));
    await k.ok(['get', 'alloc', 'hasty', '-o', 'jsonpath={.status.message}'], /not ready in 1 s: g\/vm has 0 of 1 ready/);
    await k.ok(['delete', 'alloc', 'whole'], /deleted/);
    await until('nothing of any is left', async () => (await g.client.list(Resources.Application, { tenant: 'acme' })).items.length + (await g.client.list(Resources.Placement, { tenant: 'acme' })).items.length + (await g.region.list(Resources.Deployment, { tenant: 'acme' })).items.length === 0);
    await k.ok(['explain', 'allocation.spec.strategy'], /everything of one group at one site/);
  });

  it('takes every example of the documentation, twice', async (t) => {
    const { g, k } = await kubectlOf(t, ['system:masters'], {
      sites: [['west', 'zone', 'west', 41.9, -87.6, {}], ['west-1', 'zone', 'west', 41.9, -87.6, { tier: 'gold' }], ['west-2', 'zone', 'west', 41.9, -87.6, {}], ['east-1', 'zone', 'east', 40.7, -74, {}], ['edge-a', 'edge', 'west', 45, -93.3, { tier: 'gold' }]],
      clientRegions: [{ name: 'metro-a', cidrs: ['198.51.100.0/25'], location: { latitude: 45, longitude: -93.3 } }, { name: 'metro-b', cidrs: ['198.51.100.128/25'], location: { latitude: 39.7, longitude: -105 } }],
    });
    const files = readdirSync(EXAMPLES).filter((f) => f.endsWith('.yaml') && f !== 'traffic.yaml');
    assert.ok(files.length > 5, files.join());
    const all = files.flatMap((f) => ['-f', join(EXAMPLES, f)]);
    await k.ok(['apply', ...all], /always-there created[\s\S]*cheap created/);
    await k.ok(['apply', ...all], /always-there unchanged[\s\S]*cheap unchanged/);
    const traffic = await trafficIn(join(EXAMPLES, 'traffic.yaml'));
    const answer = await g.ask('POST', '/v1/what-if', { body: { traffic } });
    assert.is(answer.status, 200, JSON.stringify(answer.body));
  });
}

let hasKubectl = true;
try {
  execFileSync('kubectl', ['version', '--client'], { stdio: 'ignore' });
} catch {
  hasKubectl = false; // said below
}
if (hasKubectl) cases();
else skip('all of it', 'there is no kubectl on this machine');

run();
