import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import * as assert from 'uvu/assert';
import { parseTopology } from '../../topologies/load.ts';
import { deploy, destroy, inspect, netnsOf, readLab, setLink } from '../../topologies/run.ts';
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

    process.kill(first.wan?.pid ?? 0, 'SIGKILL');
    while (first.wan !== null && isWanAlive(first.wan)) await new Promise((r) => setTimeout(r, 10));
    assert.match(await ping('10.0.0.2', '-c', '1', '-W', '1'), /100% packet loss|^$/, 'no emulator, no link');
    await deploy(topology, options);
    assert.match(await ping('10.0.0.2', '-c', '2', '-i', '0.1', '-W', '1'), / 0% packet loss/, 'healed');
    assert.equal((await inspect(lab, options)).map((r) => r.up), [true, true, true, true]);

    const pid = readLab(stateDir, lab)?.wan?.pid;
    await destroy(lab, options);
    await destroy(lab, options);
    assert.not(existsSync(`/run/netns/${netnsOf(lab, 'a')}`));
    assert.not(existsSync(`/proc/${pid}`));
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
