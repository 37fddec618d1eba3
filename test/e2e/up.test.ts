/** One machine as a region, as its owner uses it: up, stock kubectl, pods that answer each other, down, and nothing left. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { execa } from 'execa';
import { buildImages, WEB_IMAGE } from '../../edge/images/build.ts';
import { inOwnNetns } from '../kit/own-netns.ts';
import { suite } from '../kit/suite.ts';
import { waiter } from '../kit/until.ts';

const until = waiter({ withinMs: 60_000, everyMs: 200 });
const MAIN = join(import.meta.dirname, '..', '..', 'cli', 'main.ts');
const cache = join(process.env['PROXIMA_STATE'] ?? '/tmp/proxima-test-cache', 'images');
const has = (program: string): boolean => (process.env['PATH'] ?? '').split(':').some((d) => existsSync(join(d, program)));
const missing = ['containerd', 'kubectl'].find((p) => !has(p));
const refused = missing === undefined ? await inOwnNetns(import.meta.filename, () => buildImages(cache, { containersOnly: true })) : `no ${missing} on this machine`;
const ASK = 'fetch(process.argv[1], { signal: AbortSignal.timeout(5000) }).then((r) => r.text()).then(console.log)';
const { it, skip, run } = suite('up and down', { timeoutMs: 150_000 });

interface Ended {
  readonly exitCode?: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

interface PodList {
  readonly items: readonly { readonly metadata: { readonly name: string; readonly deletionTimestamp?: string }; readonly status?: { readonly phase?: string; readonly podIP?: string; readonly conditions?: readonly { readonly type: string; readonly status: string }[] } }[];
}

/** Processes whose cgroup is of this node: its pods. */
function podPids(node: string): readonly string[] {
  return readdirSync('/proc').filter((p) => /^\d+$/.test(p)).filter((p) => {
    try {
      return readFileSync(`/proc/${p}/cgroup`, 'utf8').includes(`/proxima/${node}/`);
    } catch {
      return false; // it ended while we looked
    }
  });
}

function processesOf(dir: string): readonly string[] {
  return readdirSync('/proc').filter((p) => /^\d+$/.test(p) && p !== String(process.pid)).filter((p) => {
    try {
      return readFileSync(`/proc/${p}/cmdline`, 'utf8').includes(dir);
    } catch {
      return false; // it ended while we looked
    }
  });
}

if (refused !== null) skip('a region on this machine', refused);
else {
  it('makes a region whose pods answer each other, says Ready, refuses what is in the way, and leaves nothing', async (t) => {
    await execa('ip', ['link', 'set', 'lo', 'up']);
    const dir = mkdtempSync('/tmp/px-up-');
    const node = `px-up-${process.pid}`;
    const cli = (args: readonly string[]): Promise<Ended> => execa(process.execPath, [MAIN, ...args], { reject: false, env: { NODE_COMPILE_CACHE: join(cache, '..', 'compile') } });
    const up = (at: string): Promise<Ended> => cli(['up', '--dir', at, '--node', node, '--no-vms', '--images', cache]);
    t.after(async () => {
      await cli(['down', '--dir', dir, '--purge']);
      rmSync(dir, { recursive: true, force: true });
    });

    const first = await up(dir);
    assert.is(first.exitCode, 0, first.stderr);
    assert.match(first.stdout, /Ready/);
    assert.match(first.stdout, /next: kubectl --kubeconfig .* create deployment/);
    const again = await up(dir);
    assert.is(again.exitCode, 0, again.stderr);
    assert.not.match(again.stderr, /starting/);

    const other = await up(`${dir}/other`);
    assert.is(other.exitCode, 3);
    assert.match(other.stderr, /TCP port 6443 of 127\.0\.0\.1 is in use[\s\S]*next: /);

    const kubectl = async (...args: readonly string[]): Promise<string> => {
      const { stdout, stderr, exitCode } = await execa('kubectl', ['--kubeconfig', join(dir, 'admin.kubeconfig'), `--cache-dir=${join(dir, 'logs', 'kubectl')}`, ...args], { reject: false });
      assert.is(exitCode, 0, stderr);
      return stdout;
    };
    assert.match(await kubectl('get', 'nodes'), new RegExp(`${node} +Ready`));
    await kubectl('create', 'deployment', 'web', `--image=${WEB_IMAGE}`);
    await kubectl('scale', 'deployment', 'web', '--replicas=2');
    const pods = await until('two pods Ready', async () => {
      const { items } = JSON.parse(await kubectl('get', 'pods', '-o', 'json')) as PodList;
      return items.length === 2 && items.every((p) => p.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') === true) ? items : null;
    });
    const addresses = pods.map((p) => p.status?.podIP ?? '');
    for (const a of addresses) assert.match(a, /^10\.200\./);
    const inside = podPids(node).map((p) => `/proc/${p}/ns/net`)[0] ?? '';
    const answers = await Promise.all(addresses.map(async (a) => (await execa('nsenter', [`--net=${inside}`, '--', process.execPath, '-e', ASK, `http://${a}/`])).stdout));
    assert.equal(answers.map((a) => (JSON.parse(a) as { pod: string }).pod), pods.map((p) => p.metadata.name));

    // Leaving is for nodes that joined: without the record of up, this one looks like one.
    assert.match((await cli(['leave', '--dir', dir])).stderr, /made by up/);
    renameSync(join(dir, 'up.json'), join(dir, 'logs', 'up.json'));
    const left = await cli(['leave', '--dir', dir]);
    assert.is(left.exitCode, 0, left.stderr);
    assert.match(left.stdout, /left site local[\s\S]*next: proxima certs revoke [0-9A-F]+/);
    assert.equal(JSON.parse(await kubectl('get', 'nodes', '-o', 'json')).items, []);
    assert.equal(podPids(node), []);
    assert.not.ok(existsSync(join(dir, 'identity', 'node.key')));
    renameSync(join(dir, 'logs', 'up.json'), join(dir, 'up.json'));

    const down = await cli(['down', '--dir', dir, '--purge']);
    assert.is(down.exitCode, 0, down.stderr);
    assert.equal((await execa('ip', ['-br', 'link'])).stdout.split('\n').map((l) => l.split(/\s+/)[0]).filter((n) => n !== 'lo' && !/^(ifb|tunl|sit|gre|ip_vti|ip6|erspan|gretap)/.test(n ?? '')), []);
    assert.not.ok(existsSync(`/sys/fs/bpf/proxima/${node}`));
    assert.equal(podPids(node), []);
    assert.not.match(readFileSync('/proc/mounts', 'utf8'), new RegExp(`${dir}/`));
    assert.equal(processesOf(`${dir}/`), []);
    for (const controller of ['', ...readdirSync('/sys/fs/cgroup')]) assert.not.ok(existsSync(join('/sys/fs/cgroup', controller, 'proxima', node)), controller);
    assert.not.ok(existsSync(dir));
    assert.match((await cli(['down', '--dir', dir])).stdout, /nothing is up/);
  });
}

run();
