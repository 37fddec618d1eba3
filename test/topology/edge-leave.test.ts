import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { createAuthority, createRegionAuthority, issueToFiles } from '../../certs/authority.ts';
import { spiffe } from '../../certs/names.ts';
import { leaveMesh } from '../../cli/up/leave.ts';
import { isBuilt } from '../../dataplane/transit/transit.ts';
import { run as exec } from '../../edge/agent/exec.ts';
import { inOwnNetns } from '../kit/own-netns.ts';
import { suite } from '../kit/suite.ts';

const refused = isBuilt() ? await inOwnNetns(import.meta.filename) : 'the data plane is not built: sh dataplane/build.sh';
const { it, skip, run } = suite('edge/leave', { timeoutMs: 20_000 });

if (refused !== null) skip('leaves nothing of a mesh', refused);
else
  it('leaves nothing of the mesh behind, and with --purge nothing at all', async (t) => {
    await exec('sh', ['-c', 'ip link set lo up; ip link add eth2 type veth peer name eth2p; ip addr add 192.168.50.1/24 dev eth2; ip link set eth2 up']);
    const base = mkdtempSync('/tmp/px-lv-');
    t.after(() => rmSync(base, { recursive: true, force: true }));
    const region = createRegionAuthority(createAuthority(join(base, 'ca')), 'r1', join(base, 'ca'));
    const node = `px-lv-${process.pid}`;
    const left = async (purge: boolean): Promise<readonly string[]> => {
      const dir = mkdtempSync(join(base, 'n'));
      issueToFiles(region, dir, 'node', { uri: spiffe.node('s1', node) });
      const config = { node, site: 's1', region: 'r1', dir, identity: { dir }, api: { server: 'https://127.0.0.1:1' }, droplet: { interface: 'eth2', address: '192.168.50.1' } };
      writeFileSync(join(dir, 'agent.json'), JSON.stringify(config));
      for (const file of ['goal.json', 'telemetry.json', 'names.json', 'relay-peers.json', 'endpoints.json']) writeFileSync(join(dir, file), '{}');
      mkdirSync(join(dir, 'gateway', 'queue'), { recursive: true });
      writeFileSync(join(dir, 'gateway', 'gateway-goal.json'), '{}');
      assert.is((await leaveMesh(dir, { purge, say: () => undefined })).site, 's1');
      return readdirSync(dir, { recursive: true }).map(String).toSorted();
    };
    assert.equal(await left(false), ['gateway', 'gateway/queue', 'telemetry.json']);
    assert.equal(await left(true), []);
  });

run();
