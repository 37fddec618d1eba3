import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { suite } from '../kit/suite.ts';
import type { CaseContext } from '../kit/suite.ts';

const { it, skip, run } = suite('gateway/tunnel', { timeoutMs: 30_000 });

const ip = (...args: string[]): string => execFileSync('ip', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
const has = (command: string): boolean => spawnSync(command, ['--version']).error === undefined;

function whyNot(): string | null {
  if (process.getuid?.() !== 0) return 'needs root';
  for (const command of ['ip', 'wg', 'wireguard-go']) if (!has(command)) return `${command} is not installed`;
  return spawnSync('ip', ['netns', 'add', 'px-gw-probe']).status === 0 && spawnSync('ip', ['netns', 'delete', 'px-gw-probe']).status === 0 ? null : 'network namespaces cannot be made here';
}

/** Runs one call of the module in a namespace; the module works on the namespace that its process is in. */
function inside(netns: string, code: string): unknown {
  const script = `import { ensureTunnel, ensureTunnelKey, observeTunnel, removeTunnel } from ${JSON.stringify(join(import.meta.dirname, '../../gateway/tunnel/wireguard.ts'))};
import { silentLogger as log } from ${JSON.stringify(join(import.meta.dirname, '../../base/log.ts'))};
console.log(JSON.stringify(await (async () => { ${code} })() ?? null));`;
  const out = execFileSync('ip', ['netns', 'exec', netns, process.execPath, '--input-type=module', '-e', script], { encoding: 'utf8', timeout: 15_000 });
  return JSON.parse(out.trim().split('\n').at(-1) ?? 'null');
}

function lab(t: CaseContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'px-gw-wg-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  for (const ns of ['px-gw-a', 'px-gw-b']) {
    spawnSync('ip', ['netns', 'delete', ns]);
    ip('netns', 'add', ns);
    t.after(() => ip('netns', 'delete', ns));
  }
  ip('link', 'add', 'eth0', 'netns', 'px-gw-a', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', 'px-gw-b');
  for (const [ns, address] of [['px-gw-a', '10.99.0.1/24'], ['px-gw-b', '10.99.0.2/24']] as const) {
    ip('-n', ns, 'address', 'add', address, 'dev', 'eth0');
    ip('-n', ns, 'link', 'set', 'eth0', 'up');
    ip('-n', ns, 'link', 'set', 'lo', 'up');
  }
  return dir;
}

const reason = whyNot();
if (reason !== null) skip('joins two relays', reason);
else
  it('joins two relays, does nothing when asked again, follows a change of peers and goes without a trace', (t) => {
    const dir = lab(t);
    t.after(() => ['px-gw-a', 'px-gw-b'].forEach((ns, i) => inside(ns, `await removeTunnel('pxgw${i}')`)));
    const keys = ['a', 'b'].map((n) => inside('px-gw-a', `return ensureTunnelKey(${JSON.stringify(join(dir, n))})`) as string);
    const spec = (self: number, peer: number, endpoint: string | null) => ({
      interface: `pxgw${self}`, address: `100.64.${self + 1}.1/32`, privateKeyFile: join(dir, self === 0 ? 'a' : 'b'), listenPort: self === 0 ? 51_820 : null, mtu: 1_420,
      peers: [{ publicKey: keys[peer], endpoint, allowedIps: [`100.64.${peer + 1}.1/32`], keepalive: 25 }],
    });
    const [a, b] = [spec(0, 1, null), spec(1, 0, '10.99.0.1:51820')];
    const first = inside('px-gw-a', `return ensureTunnel(${JSON.stringify(a)}, log)`) as { engine: string; publicKey: string; steps: unknown[] };
    assert.ok(first.engine === 'kernel' || first.engine === 'wireguard-go');
    assert.is(first.publicKey, keys[0], 'our public key is the one that wg computes');
    inside('px-gw-b', `return ensureTunnel(${JSON.stringify(b)}, log)`);
    const ping = spawnSync('ip', ['netns', 'exec', 'px-gw-b', 'ping', '-c', '2', '-W', '3', '-i', '0.2', '100.64.1.1'], { encoding: 'utf8' });
    assert.is(ping.status, 0, ping.stdout + ping.stderr);
    const again = inside('px-gw-a', `return ensureTunnel(${JSON.stringify(a)}, log)`) as { steps: unknown[] };
    assert.equal(again.steps, [], 'nothing is left to do');
    const without = inside('px-gw-a', `return ensureTunnel(${JSON.stringify({ ...a, peers: [] })}, log)`) as { steps: { kind: string }[] };
    assert.equal(without.steps.map((s) => s.kind), ['remove-peer']);
    inside('px-gw-a', `await removeTunnel('pxgw0')`);
    assert.is(inside('px-gw-a', `return observeTunnel('pxgw0')`), null);
    writeFileSync(join(dir, 'done'), '');
  });

run();
