import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import * as assert from 'uvu/assert';
import { saveLab } from '../../topologies/lab.ts';
import { parseTopology } from '../../topologies/load.ts';
import { deploy, destroy, execIn, inspect, linkCounters, netnsOf, readLab, setLink, spawnIn, type DeployOptions, type LabState } from '../../topologies/run.ts';
import type { Topology } from '../../topologies/model.ts';
import { isWanAlive } from '../../topologies/wan.ts';
import { suite } from '../kit/suite.ts';

const { it, skip, run } = suite('lab', { timeoutMs: 60_000 });

const lab = `px-lab-${process.pid}`;
const text = `name: ${lab}
topology:
  defaults: {kind: linux}
  nodes:
    a: {exec: ["ip addr add 10.0.0.1/24 dev eth1", "ip addr add 10.0.1.1/24 dev eth2"]}
    b: {exec: ["ip addr add 10.0.0.2/24 dev eth1"]}
    c: {exec: ["ip addr add 10.0.1.2/24 dev eth2"]}
    br: {kind: bridge}
  links:
    - endpoints: ["a:eth1", "b:eth1"]
      vars: {delay: 20ms, rate: 50mbit}
    - endpoints: ["a:eth2", "br:p1"]
    - endpoints: ["c:eth2", "br:p2"]
`;

const ping = async (to: string, ...args: readonly string[]): Promise<string> => (await execa('nsenter', [`--net=/run/netns/${netnsOf(lab, 'a')}`, '--', 'ping', '-q', ...args, to], { reject: false })).stdout;

/** The nodes' own processes and addresses must outlive the emulator, and so must what was changed on the link. */
async function killAndHeal(topology: Topology, options: DeployOptions, first: LabState): Promise<void> {
  const inode = statSync(`/run/netns/${netnsOf(lab, 'a')}`).ino;
  process.kill(first.wan?.pid ?? 0, 'SIGKILL');
  while (first.wan !== null && isWanAlive(first.wan)) await new Promise((r) => setTimeout(r, 10));
  assert.match(await ping('10.0.0.2', '-c', '1', '-W', '1'), /100% packet loss|^$/, 'no emulator, no link');
  const healed = await deploy(topology, options);
  assert.is.not(healed.wan?.pid, first.wan?.pid);
  assert.is(statSync(`/run/netns/${netnsOf(lab, 'a')}`).ino, inode, 'the namespaces stay');
  const report = await ping('10.0.0.2', '-c', '4', '-i', '0.1', '-W', '1');
  assert.match(report, / 0% packet loss/, 'healed');
  const rtt = Number(/= ([\d.]+)\//.exec(report)?.[1]);
  assert.ok(rtt >= 10 && rtt < 20, `the changed delay of 5 ms is kept, got ${rtt}`);
}

if (process.getuid?.() !== 0) skip('labs', 'network namespaces need root');
else {
  it('deploys, delays, cuts, heals after kill -9, and leaves nothing', async (t) => {
    const stateDir = mkdtempSync(join(tmpdir(), 'px-lab-'));
    const options = { stateDir };
    t.after(() => rmSync(stateDir, { recursive: true, force: true }));
    t.after(() => destroy(lab, options));
    const topology = parseTopology('lab.yml', text);
    const first = await deploy(topology, options);
    assert.is((await deploy(topology, options)).wan?.pid, first.wan?.pid, 'a second deploy changes nothing');

    const rtt = Number(/= [\d.]+\/([\d.]+)/.exec(await ping('10.0.0.2', '-c', '6', '-i', '0.1'))?.[1]);
    assert.ok(rtt >= 40 && rtt < 60, `two times 20 ms, got ${rtt}`);
    assert.match(await ping('10.0.1.2', '-c', '1', '-W', '2'), / 0% packet loss/, 'through the bridge');

    await setLink(lab, 'a', 'b', { up: false }, options);
    assert.match(await ping('10.0.0.2', '-c', '2', '-i', '0.1', '-W', '1'), /100% packet loss/);
    await setLink(lab, 'a', 'b', { up: true }, options);
    assert.match(await ping('10.0.0.2', '-c', '2', '-i', '0.1', '-W', '1'), / 0% packet loss/);
    await setLink(lab, 'a', 'b', { delayUs: 0, jitterUs: 0, lossPpm: 500_000, rateKbit: 0 }, options);
    const loss = Number(/([\d.]+)% packet loss/.exec(await ping('10.0.0.2', '-c', '100', '-i', '0.01', '-W', '1'))?.[1]);
    assert.ok(loss > 50 && loss < 95, `half each way loses about three quarters, got ${loss} %`);

    const counted = await linkCounters(lab, 'a', 'b', options);
    if (counted !== null) assert.ok(counted.delivered[0] > 30 && counted.dropped[0] > 20, JSON.stringify(counted));
    await setLink(lab, 'a', 'b', { delayUs: 5_000, jitterUs: 0, lossPpm: 0, rateKbit: 50_000 }, options);
    await setLink(lab, 'a', 'b', { up: true }, options);
    if (first.emulation === 'process') await killAndHeal(topology, options, first);
    assert.equal((await inspect(lab, options)).map((r) => r.up), [true, true, true, true]);

    const pid = readLab(stateDir, lab)?.wan?.pid;
    await destroy(lab, options);
    await destroy(lab, options);
    assert.not(existsSync(`/run/netns/${netnsOf(lab, 'a')}`));
    assert.not(existsSync(`/proc/${pid}`));
  });

  it('holds a link to its rate', async (t) => {
    const stateDir = mkdtempSync(join(tmpdir(), 'px-lab-'));
    const options = { stateDir };
    t.after(() => rmSync(stateDir, { recursive: true, force: true }));
    t.after(() => destroy(lab, options));
    await deploy(parseTopology('lab.yml', text.replace('delay: 20ms, rate: 50mbit', 'delay: 1ms, rate: 10mbit')), options);
    const server = spawnIn(lab, 'b', [process.execPath, '-e', `require('net').createServer((s) => s.resume().on('end', () => s.end('done'))).listen(7000, () => console.log('up'))`], { stdio: ['ignore', 'pipe', 'inherit'] });
    t.after(() => server.kill('SIGKILL'));
    await once(server.stdout as NodeJS.EventEmitter, 'data');
    const client = `const t = performance.now(); const s = require('net').connect(7000, '10.0.0.2', () => s.end(Buffer.alloc(1250000))); s.resume().on('close', () => console.log(performance.now() - t))`;
    const { stdout, stderr } = await execIn(lab, 'a', [process.execPath, '-e', client]);
    // 10 Mbit of payload on 10 Mbit/s, headers of 4.5 % on top.
    assert.ok(Number(stdout) > 1_000 && Number(stdout) < 2_000, `1.25 MB take at least a second, got ${stdout} ms ${stderr}`);
  });

  it('leaves namespaces alone that it did not make', async (t) => {
    const stateDir = mkdtempSync(join(tmpdir(), 'px-lab-'));
    const netns = netnsOf(lab, 'a');
    await execa('ip', ['netns', 'add', netns]);
    t.after(() => rmSync(stateDir, { recursive: true, force: true }));
    t.after(() => execa('ip', ['netns', 'delete', netns]));
    const error = await deploy(parseTopology('lab.yml', text), { stateDir }).catch((e: unknown) => e as Error);
    assert.match((error as Error).message, new RegExp(`not of a lab in .*: ${netns}$`));
    assert.ok(existsSync(`/run/netns/${netns}`));
    assert.is(readLab(stateDir, lab), null);
  });

  it('takes down what an interrupted deploy left before it deploys again', async (t) => {
    const stateDir = mkdtempSync(join(tmpdir(), 'px-lab-'));
    const options = { stateDir };
    t.after(() => rmSync(stateDir, { recursive: true, force: true }));
    t.after(() => destroy(lab, options));
    const topology = parseTopology('lab.yml', text);
    saveLab(stateDir, { ...(await deploy(topology, options)), complete: false });
    await execIn(lab, 'c', ['ip', 'addr', 'flush', 'dev', 'eth2']);
    await deploy(topology, options);
    assert.match(await ping('10.0.1.2', '-c', '1', '-W', '2'), / 0% packet loss/);
  });

  it('undoes a deploy that fails, naming the node and the command', async (t) => {
    const stateDir = mkdtempSync(join(tmpdir(), 'px-lab-'));
    t.after(() => rmSync(stateDir, { recursive: true, force: true }));
    const broken = parseTopology('lab.yml', text.replace('ip addr add 10.0.0.2/24', 'ip addr add 10.0.0.999/24'));
    try {
      await deploy(broken, { stateDir });
      assert.unreachable('the command cannot work');
    } catch (error) {
      assert.match((error as Error).message, /^node b: `ip addr add 10\.0\.0\.999\/24 dev eth1` failed: /);
    }
    assert.not(existsSync(`/run/netns/${netnsOf(lab, 'a')}`));
  });
}

run();
