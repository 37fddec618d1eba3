/**
 * A gateway in a process of its own, told what to do over IPC: the cloud one has its region's API in memory with it.
 *   messages in:  {do: 'cloud'|'edge', config, pingMs, deadMs} · {do: 'create'|'revoke'|'get'|'rotate'|'memory'|'ports', ...}
 */
import type { Client, ResourceId } from '../../api/client.ts';
import type { KubeObject } from '../../api/object.ts';
import { createLogger } from '../../base/log.ts';
import { revokeSerial } from '../../certs/revocation.ts';
import { cloudGatewayStart, edgeGatewayStart } from '../../gateway/main.ts';

export interface GatewayCommand {
  readonly id: number;
  readonly do: 'cloud' | 'edge' | 'create' | 'delete' | 'revoke' | 'get' | 'rotate' | 'memory' | 'ports';
  readonly config?: unknown;
  readonly pingMs?: number;
  readonly deadMs?: number;
  readonly resource?: ResourceId;
  readonly object?: KubeObject;
  readonly tenant?: string | null;
  readonly name?: string;
  readonly serial?: string;
  readonly keys?: readonly string[];
}

let client: Client | null = null;
let cloud: Awaited<ReturnType<typeof cloudGatewayStart>> | null = null;
let edge: Awaited<ReturnType<typeof edgeGatewayStart>> | null = null;

async function run(c: GatewayCommand): Promise<unknown> {
  const place = { tenant: c.tenant ?? null, namespace: null };
  const log = createLogger({ name: c.do, level: 'debug' });
  const timing = { log, pingMs: c.pingMs ?? 500, deadMs: c.deadMs ?? 2_000 };
  switch (c.do) {
    case 'cloud': {
      // Loaded here alone: an edge gateway's memory is measured.
      const { memoryClient } = await import('./memory-client.ts');
      client = await memoryClient();
      cloud = await cloudGatewayStart(c.config, { client, ...timing });
      return cloud.ports;
    }
    case 'edge':
      edge = await edgeGatewayStart(c.config, timing);
      return { mqtt: edge.gateway.mqttPort(0) };
    case 'create':
      return client?.create(c.resource as ResourceId, c.object as KubeObject);
    case 'delete':
      return client?.delete(c.resource as ResourceId, place, c.name ?? '');
    case 'get':
      return client?.get(c.resource as ResourceId, place, c.name ?? '');
    case 'revoke':
      return revokeSerial(client as Client, c.serial ?? '', 'test');
    case 'rotate':
      return edge?.gateway.rotate();
    case 'memory':
      return process.memoryUsage().rss;
    case 'ports':
      return Object.fromEntries((c.keys ?? []).map((k) => [k, edge?.gateway.portOf(k) ?? cloud?.gateway.portOf(k) ?? null]));
  }
}

process.on('message', (message) => {
  const command = message as GatewayCommand;
  run(command).then(
    (result) => process.send?.({ id: command.id, result: result ?? null }),
    (error: Error) => process.send?.({ id: command.id, error: error.stack ?? error.message }),
  );
});
process.on('disconnect', () => process.exit(0));
