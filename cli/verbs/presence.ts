/** presence ls|trace: what crosses between sites and the cloud, who may call it, where it listens, and whom it refused. */
import type { Command } from 'commander';
import { MeshError } from '../../api/errors.ts';
import type { Presence } from '../../api/kinds/mesh.ts';
import type { Access } from '../../api/kubeconfig.ts';
import { Resources } from '../../api/resources.ts';
import { withClient } from '../connect.ts';
import { formatOf, next, print } from '../output.ts';

interface Options {
  readonly kubeconfig?: string;
  readonly output?: string;
}
interface Refusal {
  readonly at: string;
  readonly where: string;
  readonly site: string | null;
  readonly target: string;
  readonly caller: string;
  readonly code: string;
  readonly reason: string;
}

const keyOf = (p: Presence): string => `${p.metadata.tenant ?? 'system'}/${p.metadata.name}`;
const listensAt = (p: Presence): string => (p.spec.listen.sites.length === 0 ? 'the region' : p.spec.listen.sites.join(','));

function isReady(p: Presence): string {
  const sites = Object.entries(p.status?.sites ?? {});
  const bad = sites.filter(([, s]) => !s.ready);
  return sites.length === 0 ? 'not yet' : bad.length === 0 ? 'yes' : `not at ${bad.map(([name]) => name).join(',')}`;
}

async function ls(o: Options): Promise<void> {
  const format = formatOf(o.output);
  await withClient(o.kubeconfig, async ({ client }) => {
    const { items } = await client.list<Presence>(Resources.Presence, { tenant: 'all' });
    print(format, items, ['presence', 'direction', 'protocol', 'service', 'listens at', 'port', 'callers', 'ready'], items.map((p) => [keyOf(p), p.spec.direction, p.spec.protocol, `${p.spec.service.host}:${p.spec.service.port}`, listensAt(p), p.spec.listen.port, p.spec.callers.length, isReady(p)]));
    next(format, items[0] === undefined ? 'kubectl apply -f presence.yaml (kubectl explain presences)' : `proxima presence trace ${keyOf(items[0])}`);
  });
}

async function refusalsAt(gateway: string, access: Access): Promise<readonly Refusal[]> {
  if (access.credential.kind !== 'certificate') throw new MeshError('unauthenticated', 'the kubeconfig holds no client certificate, and a gateway answers to one only', { next: 'proxima certs issue --uri spiffe://proxima/admin/NAME' });
  const { exchange } = await import('../../certs/https.ts');
  const { refusals } = (await exchange({ gateway, path: '/refusals', trustPem: access.ca ?? '', keyPem: access.credential.key, certPem: access.credential.cert })) as { readonly refusals: readonly Refusal[] };
  return refusals;
}

async function trace(name: string, o: Options & { readonly gateway?: string }): Promise<void> {
  const format = formatOf(o.output);
  const [tenant = '', short] = name.includes('/') ? name.split('/') : ['system', name];
  await withClient(o.kubeconfig, async ({ client, access }) => {
    const p = await client.get<Presence>(Resources.Presence, { tenant, namespace: null }, short ?? '');
    const refusals = o.gateway === undefined ? null : (await refusalsAt(o.gateway, access)).filter((r) => r.target === keyOf(p) || r.target === p.metadata.name);
    if (format !== 'table') return print(format, { presence: keyOf(p), spec: p.spec, status: p.status ?? {}, refusals }, [], []);
    const at = Object.entries(p.status?.sites ?? {});
    print(format, null, ['what', 'is'], [
      ['presence', keyOf(p)],
      ['way', `${p.spec.direction}, ${p.spec.protocol}`],
      ['service', `${p.spec.service.host}:${p.spec.service.port}${p.spec.service.site === undefined ? ' in the region' : ` at site ${p.spec.service.site}`}`],
      ['listens at', at.length === 0 ? `${listensAt(p)}, port ${p.spec.listen.port}; no gateway has said so yet` : at.map(([site, s]) => `${site} ${s.address ?? ''}${s.ready ? '' : ` (${s.message ?? 'not ready'})`}`).join('\n')],
      ['callers', p.spec.callers.length === 0 ? 'nobody: spec.callers is empty' : p.spec.callers.join('\n')],
      ['allowed', p.spec.protocol === 'tcp' ? 'any bytes' : p.spec.allow === undefined ? 'nothing: spec.allow is absent' : p.spec.allow.map((a) => `${a.methods.join(',')} ${a.path}`).join('\n')],
    ]);
    if (refusals !== null) {
      console.log('');
      print(format, null, ['refused at', 'where', 'caller', 'code', 'reason'], refusals.map((r) => [r.at, r.site ?? r.where, r.caller, r.code, r.reason]));
    }
    next(format, refusals === null ? `proxima presence trace ${name} --gateway HOST:PORT also shows whom it refused` : 'proxima presence ls');
  });
}

export function register(program: Command): void {
  const presence = program.command('presence').description('services that cross between sites and the cloud: ls, trace');
  const common = (c: Command): Command => c.option('--kubeconfig <file>', 'of the region').option('-o, --output <format>', 'table, json or yaml');
  common(presence.command('ls').description('every presence of the region')).action(ls);
  common(presence.command('trace <name>').description('one presence (tenant/name): who may call, where it listens, whom it refused').option('--gateway <host:port>', 'where the region\'s cloud gateway enrols: it knows the refusals')).action(trace);
}
