/** Several resource groups at once, all or none: one Allocation is placed whole, one that does not fit is refused whole, and what was placed goes whole. */
import type { Allocation } from '../../api/kinds/mesh.ts';
import { seconds, until } from './report.ts';
import type { Story } from './story.ts';

const IMAGE = 'localhost/proxima-web:1';
const PORT = 8_090;

const resource = (name: string, port: number, cpu: string): object => ({
  name, service: { port, targetPort: 80 },
  template: { spec: { containers: [{ name: 'web', image: IMAGE, resources: { requests: { cpu, memory: '16Mi' } }, readinessProbe: { httpGet: { path: '/', port: 80 }, periodSeconds: 1 } }] } },
});

/** A group of two at one site, and a group of one; `cpu` of the last one decides whether all of it fits. */
const allocation = (name: string, port: number, cpu: string): object => ({
  apiVersion: 'mesh.proxima.io/v1', kind: 'Allocation', metadata: { name, tenant: 'acme', namespace: 'default' },
  spec: { vpc: 'shop', strategy: 'centralize', retry: 'never', resourceGroups: [{ name: 'shop', resources: [resource('till', port, '20m'), resource('stock', port + 1, '20m')] }, { name: 'night', resources: [resource('count', port + 2, cpu)] }] },
});

interface Listed {
  readonly items: readonly { readonly metadata: { readonly name: string }; readonly status?: { readonly phase?: string } }[];
}

/** Resolves with the look at whether what was deleted is gone: it drains meanwhile. */
export async function placeTogether(story: Story): Promise<() => Promise<void>> {
  const { stage, report } = story;
  const { mesh, facts } = stage;
  const apply = (items: readonly object[]): Promise<string> => story.kubectl(['apply', '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: 'List', items }));
  const list = async (where: string, path: string, name: string): Promise<Listed['items']> => (JSON.parse(await mesh.kubectl(where, ['get', '--raw', path])) as Listed).items.filter((o) => o.metadata.name.startsWith(`${name}-`));
  const ours = '/apis/mesh.proxima.io/v1/tenants/acme/namespaces/default';
  const podsOf = async (name: string): Promise<Listed['items']> => (await Promise.all(facts.regions.map((r) => list(r.name, '/api/v1/tenants/acme/pods', name)))).flat();
  const made = async (name: string): Promise<readonly string[]> => [...(await list('global', `${ours}/applications`, name)), ...(await list('global', `${ours}/placements`, name)), ...(await podsOf(name))].map((o) => o.metadata.name);
  const ended = (name: string, phase: string): Promise<Allocation> => until(`allocation ${name} being ${phase}`, 60_000, async () => {
    const a = JSON.parse(await mesh.kubectl('global', ['get', '--raw', `${ours}/allocations/${name}`])) as Allocation;
    return a.status?.phase === phase ? a : null;
  });

  const from = performance.now();
  await apply([allocation('stall', PORT, '20m'), allocation('hall', PORT + 10, '64')]);
  report.say('kubectl apply: allocations stall and hall, each of two groups with three resources; hall wants 64 processors for one of them');
  const stall = await ended('stall', 'Placed');
  const running = (await podsOf('stall')).filter((p) => p.status?.phase === 'Running').length;
  const where = stall.status?.groups?.map((g) => `${g.name} at ${g.site ?? ''}`).join(', ') ?? '';
  report.check('an Allocation of two groups, placed all or nothing', `${where}: ${running} pods Running after ${seconds(performance.now() - from)}`, running === 3);
  const hall = await ended('hall', 'Failed');
  const leftover = await made('hall');
  report.check('an Allocation that does not fit is refused whole', `${hall.status?.message ?? ''}; ${leftover.length === 0 ? 'nothing of it was made' : leftover.join(', ')}`, leftover.length === 0 && /mCPU free, one instance needs 64000/.test(hall.status?.message ?? ''));
  await story.kubectl(['delete', 'allocation', 'stall', 'hall', '--wait=false']);
  return async () => {
    await until('nothing of the allocations being left', 60_000, async () => ((await made('stall')).length === 0 ? true : null));
    report.check('an Allocation that is deleted goes whole', 'no application, placement or pod of it is left', true);
  };
}
