/** What the site can carry and carries now, from the region's nodes and pods; while the region is out of reach, as it was last known. */
import type { Client } from '../../api/client.ts';
import type { Node, Pod } from '../../api/kinds/core.ts';
import { Resources } from '../../api/resources.ts';
import type { CapacitySample } from '../../api/telemetry.ts';
import type { Clock } from '../../base/clock.ts';
import { bytesOf, milliCpu } from './model.ts';

export function siteCapacity(client: Client, site: string, clock: Clock): () => Promise<CapacitySample> {
  let last: CapacitySample = { site, at: 0, nodes: 1, readyNodes: 1, cpuMilli: 0, memoryMiB: 0, usedCpuMilli: 0, usedMemoryMiB: 0 };
  return async () => {
    const known = await Promise.all([
      client.list<Node>(Resources.Node, { labelSelector: `mesh.proxima.io/site=${site}` }),
      client.list<Pod>(Resources.Pod, { tenant: 'all' }),
    ]).catch(() => null); // the last answer stands
    if (known !== null) last = capacityOf(site, known[0].items, known[1].items);
    return { ...last, at: clock.now() };
  };
}

/** Pure. */
export function capacityOf(site: string, nodes: readonly Node[], pods: readonly Pod[]): CapacitySample {
  const ready = nodes.filter((n) => n.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') === true);
  const names = new Set(nodes.map((n) => n.metadata.name));
  const mine = pods.filter((p) => names.has(p.spec.nodeName ?? '') && p.status?.phase !== 'Succeeded' && p.status?.phase !== 'Failed');
  const requests = mine.flatMap((p) => (p.spec.virtualMachine === undefined ? (p.spec.containers ?? []).map((c) => c.resources?.requests) : [p.spec.virtualMachine.resources?.requests]));
  const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
  const mib = (quantity: string | undefined): number => Math.round(bytesOf(quantity) / 2 ** 20);
  return {
    site,
    at: 0,
    nodes: nodes.length,
    readyNodes: ready.length,
    cpuMilli: sum(ready.map((n) => milliCpu(n.status?.allocatable?.['cpu']))),
    memoryMiB: sum(ready.map((n) => mib(n.status?.allocatable?.['memory']))),
    usedCpuMilli: sum(requests.map((r) => milliCpu(r?.cpu))),
    usedMemoryMiB: sum(requests.map((r) => mib(r?.memory))),
  };
}
