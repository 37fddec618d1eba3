/** What agents would do in a region, for tests without containers: their nodes live, bound pods run and are Ready, marked pods are gone. */
import type { Client } from '../../api/client.ts';
import { isMeshError } from '../../api/errors.ts';
import type { Lease, Pod } from '../../api/kinds/core.ts';
import { Resources } from '../../api/resources.ts';
import type { CaseContext } from './suite.ts';

const CLUSTER = { tenant: null, namespace: null } as const;
const EVERY_MS = 60;
const RENEW_MS = 4_000;

export interface PlayedAgent {
  /** A pod with this image starts, and is never Ready. */
  readonly neverReady: string;
}

/** One node for each site; `stop` of the test ends them. */
export async function playAgents(t: CaseContext, client: Client, sites: readonly string[], { neverReady }: PlayedAgent): Promise<void> {
  for (const site of sites) {
    const name = `node-${site}`;
    const conditions = ['Ready', 'ContainerRuntimeReady'].map((type) => ({ type, status: 'True' }));
    await client.create(Resources.Node, { apiVersion: 'v1', kind: 'Node', metadata: { name, labels: { 'mesh.proxima.io/site': site } } });
    await client.patch(Resources.Node, CLUSTER, name, { status: { allocatable: { cpu: '4', memory: '4Gi', pods: '50' }, conditions } }, { subresource: 'status' });
    await client.create<Lease>(Resources.Lease, { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name, tenant: 'system', namespace: 'node-lease' }, spec: { holderIdentity: name, renewTime: new Date().toISOString() } });
  }
  let isOver = false;
  let renewedAt = Date.now();
  const playing = (async () => {
    while (!isOver) {
      if (Date.now() - renewedAt > RENEW_MS) {
        renewedAt = Date.now();
        for (const site of sites) await client.patch(Resources.Lease, { tenant: 'system', namespace: 'node-lease' }, `node-${site}`, { spec: { renewTime: new Date().toISOString() } });
      }
      for (const pod of (await client.list<Pod>(Resources.Pod, { tenant: 'all' })).items) {
        await play(client, pod, neverReady).catch((error: unknown) => {
          if (!isMeshError(error, 'not-found') && !isMeshError(error, 'conflict')) throw error; // gone meanwhile
        });
      }
      await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    }
  })();
  playing.catch(() => undefined); // thrown by the wait below
  t.after(async () => {
    isOver = true;
    await playing;
  });
}

let addresses = 0;

async function play(client: Client, pod: Pod, neverReady: string): Promise<void> {
  const place = { tenant: pod.metadata.tenant ?? null, namespace: pod.metadata.namespace ?? null };
  if ((pod.spec.nodeName ?? '') === '') return;
  if (pod.metadata.deletionTimestamp !== undefined) return client.delete(Resources.Pod, place, pod.metadata.name, { gracePeriodSeconds: 0 });
  if (pod.status?.phase === 'Running') return;
  addresses += 1;
  const isReady = pod.spec.containers?.some((c) => c.image === neverReady) !== true;
  const status = { phase: 'Running', podIP: `10.200.${addresses >> 8}.${addresses & 255}`, conditions: [{ type: 'PodScheduled', status: 'True' }, { type: 'Ready', status: isReady ? 'True' : 'False' }] };
  await client.patch(Resources.Pod, place, pod.metadata.name, { status }, { subresource: 'status' });
}
