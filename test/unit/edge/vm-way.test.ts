/** The way of a moving VM over four real endpoints: a node, its site's relay, the other site's relay, the node that has the VM. */
import type { Duplex } from 'node:stream';
import * as assert from 'uvu/assert';
import type { Client } from '../../../api/client.ts';
import type { MeshError } from '../../../api/errors.ts';
import type { Node, Pod } from '../../../api/kinds/core.ts';
import type { Droplet } from '../../../api/kinds/mizar.ts';
import { Resources } from '../../../api/resources.ts';
import { silentLogger } from '../../../base/log.ts';
import type { Identity } from '../../../certs/names.ts';
import { spiffe } from '../../../certs/names.ts';
import { AgentEndpoint } from '../../../edge/agent/logs.ts';
import type { Records } from '../../../edge/agent/records.ts';
import type { VmRuntime } from '../../../edge/agent/vm/runtime.ts';
import type { VmSender } from '../../../edge/agent/vm/send.ts';
import { transferEndpoint } from '../../../edge/agent/vm/transfer-endpoint.ts';
import { nextHop, TransferWay } from '../../../edge/agent/vm/way.ts';
import { memoryClient } from '../../kit/memory-client.ts';
import { meshTls } from '../../kit/mesh-tls.ts';
import { suite } from '../../kit/suite.ts';

const { it, run } = suite('way of a moving VM', { timeoutMs: 20_000 });

const droplet = (name: string, site: string, address: string, relay: string | null): Droplet => ({ apiVersion: 'mizar.com/v1', kind: 'Droplet', metadata: { name }, spec: { node: name, site, interface: 'eth0', address, mac: '02:00:00:00:00:01', ...(relay === null ? {} : { relay: { address: relay, publicKey: `${'A'.repeat(42)}E=`, interface: 'wg0' } }) } });

it('goes over the own relay to the other site\'s, straight to a neighbour, and names the site without a relay', () => {
  const all = [droplet('a1', 'a', '192.168.50.1', '100.64.3.1'), droplet('a2', 'a', '192.168.50.2', null), droplet('b1', 'b', '192.168.50.1', '100.64.4.1')];
  const hop = (node: string, site: string, to: string): string => {
    const h = nextHop({ site, node }, to, all);
    return h.kind === 'source' ? 'source' : `${h.droplet.metadata.name} ${h.through}`;
  };
  assert.equal([hop('a2', 'a', 'b'), hop('a1', 'a', 'b'), hop('b1', 'b', 'a'), hop('a1', 'a', 'a')], ['a1 lan', 'b1 tunnel', 'a1 tunnel', 'source']);
  assert.throws(() => nextHop({ site: 'a', node: 'a2' }, 'c', all), /site c has no relay/);
});

interface Stand {
  readonly way: TransferWay;
  readonly port: number;
}

it('carries bytes between two nodes behind relays, and leads nobody else', async (t) => {
  const tls = meshTls();
  t.after(() => tls.remove());
  const client: Client = await memoryClient();
  const served: string[] = [];
  const ports = new Map<string, number>();
  const stand = async (site: string, node: string, uri = spiffe.node(site, node), far = ''): Promise<Stand> => {
    const { key, cert, ca } = tls.issue(uri);
    const way = new TransferWay({ site, node, port: () => ports.get(far) ?? 0, client, tls: () => ({ key, cert, ca }) });
    const departures = { serve: async (uid: string, caller: Identity, socket: Duplex) => {
      served.push(`${node}: ${uid} for ${caller.uri}`);
      socket.pipe(socket);
    } } as unknown as VmSender;
    const endpoint = new AgentEndpoint({ listen: { address: '127.0.0.1', port: 0 }, region: 'west', tls: { key, cert, ca }, logDir: '/nonexistent', records: {} as Records, vms: {} as VmRuntime, upgrades: transferEndpoint(departures, way, silentLogger), log: silentLogger });
    await endpoint.start();
    t.after(() => endpoint.stop());
    ports.set(node, endpoint.port);
    await client.create<Node>(Resources.Node, { apiVersion: 'v1', kind: 'Node', metadata: { name: node, labels: { 'mesh.proxima.io/site': site } } }).catch(() => undefined);
    await client.patch(Resources.Node, { tenant: null, namespace: null }, node, { status: { addresses: [{ type: 'InternalIP', address: '127.0.0.1' }], daemonEndpoints: { kubeletEndpoint: { Port: endpoint.port } } } }, { subresource: 'status' });
    return { way, port: endpoint.port };
  };
  await stand('a', 'a1', undefined, 'b1');
  await stand('a', 'a2');
  await stand('b', 'b1', undefined, 'a1');
  const { way: target } = await stand('b', 'b2');
  for (const d of [droplet('a1', 'a', '127.0.0.1', '127.0.0.1'), droplet('a2', 'a', '127.0.0.1', null), droplet('b1', 'b', '127.0.0.1', '127.0.0.1'), droplet('b2', 'b', '127.0.0.1', null)]) await client.create(Resources.Droplet, d);
  const pod = await client.create<Pod>(Resources.Pod, { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'db', tenant: 'acme', namespace: 'default' }, spec: { nodeName: 'a2', vpc: 'shop', virtualMachine: { name: 'v', image: 'i', publicKey: 'none' } } });
  const from = { site: 'a', uid: pod.metadata.uid ?? '' };
  const dial = (way: TransferWay, to = from): Promise<Duplex | MeshError> => way.dial(to, AbortSignal.timeout(5000)).catch((e: unknown) => e as MeshError);

  assert.match(((await dial(target)) as MeshError).message, /pod db is not to be sent anywhere/);
  await client.patch(Resources.Pod, { tenant: 'acme', namespace: 'default' }, 'db', { metadata: { annotations: { 'mesh.proxima.io/send-to': 'b' } } });
  const open = (await dial(target)) as Duplex;
  const echo = new Promise<string>((resolve) => open.once('data', (d: Buffer) => resolve(d.toString())));
  open.write('state');
  assert.is(await echo, 'state');
  assert.equal(served, [`a2: ${from.uid} for spiffe://proxima/site/b/node/b2`]);
  open.destroy();

  assert.is(((await dial(target, { site: 'a', uid: 'nobody' })) as MeshError).kind, 'not-found');
  await client.patch(Resources.Pod, { tenant: 'acme', namespace: 'default' }, 'db', { metadata: { annotations: { 'mesh.proxima.io/send-to': 'c' } } });
  assert.match(((await dial(target)) as MeshError).message, /to be sent to c, not to b/);
  const asking = (uri: string): TransferWay => {
    const { key, cert, ca } = tls.issue(uri);
    return new TransferWay({ site: 'b', node: 'b9', port: () => 0, client, tls: () => ({ key, cert, ca }) });
  };
  assert.match(((await dial(asking(spiffe.node('c', 'x')))) as MeshError).message, /this relay is of b: it leads c to no third site/);
  assert.match(((await dial(asking(spiffe.admin('root')))) as MeshError).message, /a relay leads nodes only/);
  assert.is(served.length, 1);
});

run();
