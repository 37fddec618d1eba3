/** certs init|issue|rotate|revoke: the mesh authority and what it signs. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { MeshError } from '../../api/errors.ts';
import { integer, withClient } from '../connect.ts';
import { formatOf, next, print } from '../output.ts';

const HOUR_MS = 3_600_000;

interface Signing {
  readonly authority?: string;
  readonly region?: string;
}

async function signer(o: Signing): Promise<import('../../certs/authority.ts').Authority> {
  const dir = o.authority ?? '';
  if (dir === '') throw new MeshError('invalid', 'expected --authority DIR, as certs init made it', { fields: { path: '--authority' }, next: 'proxima certs init --dir DIR --region NAME' });
  const { loadAuthority } = await import('../../certs/authority.ts');
  const at = join(dir, o.region === undefined ? 'root' : `region-${o.region}`);
  return loadAuthority(`${at}.crt`, `${at}.key`);
}

async function init(o: { readonly dir: string; readonly region: readonly string[]; readonly output?: string }): Promise<void> {
  const format = formatOf(o.output);
  const { createAuthority, createRegionAuthority, loadRoot, pinOf } = await import('../../certs/authority.ts');
  const { spiffe } = await import('../../certs/names.ts');
  for (const r of o.region) {
    spiffe.region(r); // refused before anything is written
    if (existsSync(join(o.dir, `region-${r}.key`))) throw new MeshError('already-exists', `${join(o.dir, `region-${r}.key`)} exists: region ${r} has an authority`, { next: `proxima certs issue --authority ${o.dir} --region ${r} --uri ${spiffe.region(r)} --out DIR` });
  }
  const isNew = !existsSync(join(o.dir, 'root.key'));
  if (!isNew && o.region.length === 0) throw new MeshError('already-exists', `${join(o.dir, 'root.key')} exists: this folder has an authority`, { next: `proxima certs init --dir ${o.dir} --region NAME adds a region` });
  const root = isNew ? createAuthority(o.dir) : loadRoot(o.dir);
  for (const r of o.region) createRegionAuthority(root, r, o.dir);
  const made = [...(isNew ? ['root'] : []), ...o.region.map((r) => `region-${r}`)].map((name) => ({ name, certificate: join(o.dir, `${name}.crt`), key: join(o.dir, `${name}.key`) }));
  print(format, { pin: pinOf(root.root), made }, ['authority', 'certificate', 'key'], made.map((m) => [m.name, m.certificate, m.key]));
  const first = o.region[0];
  next(format, first === undefined ? `proxima certs init --dir ${o.dir} --region NAME` : `proxima certs issue --authority ${o.dir} --region ${first} --uri ${spiffe.region(first)} --dns api.${first} --out DIR`);
}

interface IssueOptions extends Signing {
  readonly uri: string;
  readonly dns: readonly string[];
  readonly ip: readonly string[];
  readonly out: string;
  readonly name?: string;
  readonly hours: string;
  readonly force?: boolean;
  readonly output?: string;
}

const nameFor = (uri: string): string => (uri.includes('/node/') ? 'node' : uri.endsWith('/gateway') ? 'gateway' : uri.includes('/region/') ? 'region' : uri.includes('/admin/') ? 'admin' : uri.endsWith('/global') ? 'global' : 'client');

async function issue(o: IssueOptions): Promise<void> {
  const format = formatOf(o.output);
  const { isIP } = await import('node:net');
  for (const ip of o.ip) if (isIP(ip) === 0) throw new MeshError('invalid', `--ip: "${ip}" is no address`, { fields: { path: '--ip' } });
  const lifetimeMs = integer('--hours', o.hours, 1, 87_600) * HOUR_MS;
  const { parseSpiffe } = await import('../../certs/names.ts');
  if (parseSpiffe(o.uri) === null) throw new MeshError('invalid', `--uri: "${o.uri}" is no mesh identity`, { fields: { path: '--uri' }, next: 'such as spiffe://proxima/site/SITE/node/NODE, spiffe://proxima/tenant/TENANT/NAME, spiffe://proxima/admin/NAME' });
  const authority = await signer(o);
  const name = o.name ?? nameFor(o.uri);
  if (o.force !== true && existsSync(join(o.out, `${name}.key`))) throw new MeshError('already-exists', `${join(o.out, `${name}.key`)} exists`, { next: 'choose another --name or --out, or --force' });
  const { issueToFiles } = await import('../../certs/authority.ts');
  const files = issueToFiles(authority, o.out, name, { uri: o.uri, dns: o.dns, ips: o.ip, lifetimeMs });
  print(format, { uri: o.uri, ...files }, ['serial', 'certificate', 'key', 'trust'], [[files.serial, files.certFile, files.keyFile, files.trustFile]]);
  next(format, `proxima certs revoke ${files.serial} --kubeconfig REGION, should its key be lost`);
}

interface RotateOptions extends Signing {
  readonly dir: string;
  readonly use: string;
  readonly gateway?: string;
  readonly hours: string;
  readonly output?: string;
}

/** Where the site enrolled; null for a certificate that was not made by joining. */
function enrolledAt(dir: string): string | null {
  const file = join(dir, 'endpoints.json');
  return existsSync(file) ? ((JSON.parse(readFileSync(file, 'utf8')) as { readonly enrol?: string }).enrol ?? null) : null;
}

async function reissue(o: RotateOptions, old: import('node:crypto').X509Certificate, uri: string): Promise<void> {
  const names = (old.subjectAltName ?? '').split(', ');
  const of = (kind: string): string[] => names.filter((n) => n.startsWith(`${kind}:`)).map((n) => n.slice(kind.length + 1));
  const { issueToFiles } = await import('../../certs/authority.ts');
  issueToFiles(await signer(o), o.dir, o.use, { uri, dns: of('DNS'), ips: of('IP Address'), lifetimeMs: integer('--hours', o.hours, 1, 87_600) * HOUR_MS });
}

async function rotate(o: RotateOptions): Promise<void> {
  const format = formatOf(o.output);
  const { loadIdentity, renewIfDue } = await import('../../certs/enrol.ts');
  const old = loadIdentity(o.dir, o.use);
  const gateway = o.gateway ?? (o.authority === undefined ? enrolledAt(o.dir) : null);
  if (o.authority !== undefined) await reissue(o, old.certificate, old.identity.uri);
  else if (gateway !== null) await renewIfDue({ dir: o.dir, use: o.use, gateway, now: Date.now(), force: true });
  else throw new MeshError('invalid', `${o.dir} names no gateway to renew at`, { fields: { path: '--gateway' }, next: '--gateway HOST:PORT of the cloud gateway, or --authority DIR --region NAME to sign here' });
  const fresh = loadIdentity(o.dir, o.use);
  print(format, { uri: fresh.identity.uri, old: old.identity.serial, new: fresh.identity.serial, notAfter: new Date(fresh.identity.notAfter).toISOString() }, ['identity', 'old serial', 'new serial', 'valid until'], [[fresh.identity.uri, old.identity.serial, fresh.identity.serial, new Date(fresh.identity.notAfter).toISOString()]]);
  next(format, `proxima certs revoke ${old.identity.serial} --kubeconfig REGION, once everything uses the new one`);
}

/** A serial, or the certificate file that has it. */
async function serialOf(given: string): Promise<string> {
  if (!existsSync(given)) return given;
  const { parseChain } = await import('../../certs/authority.ts');
  const [leaf] = parseChain(readFileSync(given, 'utf8'));
  if (leaf === undefined) throw new MeshError('invalid', `${given}: no certificate in it`, { fields: { path: given } });
  return leaf.serialNumber;
}

async function revoke(given: string, o: { readonly kubeconfig?: string; readonly reason: string }): Promise<void> {
  const serial = await serialOf(given);
  const { revokeSerial } = await import('../../certs/revocation.ts');
  await withClient(o.kubeconfig, ({ client }) => revokeSerial(client, serial, o.reason));
  console.log(`${serial} is revoked: gateways cut what is connected with it, and the API refuses it`);
  console.log('next: kubectl get configmap proxima-revocations -o yaml');
}

export function register(program: Command): void {
  const certs = program.command('certs').description('the mesh authority: init, issue, rotate, revoke');
  const many = (value: string, before: readonly string[]): readonly string[] => [...before, value];
  const output = (c: Command): Command => c.option('-o, --output <format>', 'table, json or yaml');
  output(certs.command('init').description('make the authority, or add regions to it').requiredOption('--dir <dir>', 'its folder').option('--region <name>', 'a region with an authority of its own; may be given again', many, [])).action(init);
  output(certs.command('issue').description('sign a certificate, with a new key, into files').requiredOption('--authority <dir>', 'as certs init made it').option('--region <name>', 'signed by this region\'s authority (default: the root)').requiredOption('--uri <spiffe>', 'whose it is').option('--dns <name>', 'name; may be given again', many, []).option('--ip <address>', 'address; may be given again', many, []).requiredOption('--out <dir>', 'where the files go').option('--name <name>', 'of the files').option('--hours <n>', 'it is valid for', '720').option('--force', 'replace files that are there')).action(issue);
  output(certs.command('rotate').description('a new key and certificate for the same identity: from the gateway where it enrolled, or signed here').requiredOption('--dir <dir>', 'folder of the identity').option('--use <name>', 'of the files', 'node').option('--gateway <host:port>', 'where to renew').option('--authority <dir>', 'sign here instead').option('--region <name>', 'by this region\'s authority').option('--hours <n>', 'valid for, when signed here', '720')).action(rotate);
  certs.command('revoke <serial>').description('believe a certificate (its serial or file) no more').option('--kubeconfig <file>', 'of the region').option('--reason <text>', 'why', 'revoked by an operator').action(revoke);
}
