/** Kubeconfig files: read one context, write one. Data in the file itself (`*-data`) or beside it (paths relative to the file). */
import { randomUUID } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { Type } from 'typebox';
import { parse, stringify } from 'yaml';
import type { Json } from './definition.ts';
import { MeshError } from './errors.ts';
import type { Schema } from './schema.ts';
import { validate, type Walk } from './schema.ts';

/** What is needed to reach one API server as somebody. */
export interface Access {
  /** May end in `/tenants/<t>`. */
  readonly server: string;
  /** PEM; null = the system's roots. */
  readonly ca: string | null;
  readonly credential: { readonly kind: 'certificate'; readonly cert: string; readonly key: string } | { readonly kind: 'token'; readonly token: string } | { readonly kind: 'none' };
  /** Namespace of the context. */
  readonly namespace?: string;
  /** Name in the server's certificate when it is not the host of `server`. */
  readonly serverName?: string;
}

const text = Type.Optional(Type.String());
const SCHEMA = Type.Object({
  'current-context': text,
  clusters: Type.Array(Type.Object({ name: Type.String(), cluster: Type.Object({ server: Type.String({ minLength: 1 }), 'certificate-authority-data': text, 'certificate-authority': text, 'tls-server-name': text }, { 'x-kubernetes-preserve-unknown-fields': true }) })),
  contexts: Type.Array(Type.Object({ name: Type.String(), context: Type.Object({ cluster: Type.String(), user: Type.String(), namespace: text }, { 'x-kubernetes-preserve-unknown-fields': true }) })),
  users: Type.Array(Type.Object({ name: Type.String(), user: Type.Object({ token: text, tokenFile: text, 'client-certificate-data': text, 'client-certificate': text, 'client-key-data': text, 'client-key': text }, { 'x-kubernetes-preserve-unknown-fields': true }) })),
});

interface File {
  readonly 'current-context'?: string;
  readonly clusters: readonly { readonly name: string; readonly cluster: Readonly<Record<string, string | undefined>> }[];
  readonly contexts: readonly { readonly name: string; readonly context: Readonly<Record<string, string | undefined>> }[];
  readonly users: readonly { readonly name: string; readonly user: Readonly<Record<string, string | undefined>> }[];
}

export async function loadKubeconfig(path: string, contextName?: string): Promise<Access> {
  const file = decodeFile(path, await read(path, path));
  const name = contextName ?? file['current-context'] ?? file.contexts[0]?.name;
  const context = file.contexts.find((c) => c.name === name)?.context;
  if (context === undefined) throw bad(path, 'current-context', `there is no context "${String(name)}"`);
  const cluster = file.clusters.find((c) => c.name === context['cluster'])?.cluster;
  if (cluster === undefined) throw bad(path, 'contexts', `there is no cluster "${String(context['cluster'])}"`);
  const user = file.users.find((u) => u.name === context['user'])?.user ?? {};
  const pem = async (map: Readonly<Record<string, string | undefined>>, field: string): Promise<string | null> => {
    const inline = map[`${field}-data`];
    if (inline !== undefined) return Buffer.from(inline, 'base64').toString('utf8');
    const beside = map[field];
    return beside === undefined ? null : read(resolve(dirname(path), beside), path);
  };
  const cert = await pem(user, 'client-certificate');
  const key = await pem(user, 'client-key');
  const token = user['token'] ?? (user['tokenFile'] === undefined ? undefined : (await read(resolve(dirname(path), user['tokenFile']), path)).trim());
  const credential: Access['credential'] = cert !== null && key !== null ? { kind: 'certificate', cert, key } : token !== undefined ? { kind: 'token', token } : { kind: 'none' };
  return {
    server: cluster['server'] ?? '',
    ca: await pem(cluster, 'certificate-authority'),
    credential,
    ...(context['namespace'] === undefined ? {} : { namespace: context['namespace'] }),
    ...(cluster['tls-server-name'] === undefined ? {} : { serverName: cluster['tls-server-name'] }),
  };
}

async function read(path: string, origin: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw new MeshError('missing-file', `cannot read ${path}${origin === path ? '' : ` (named in ${origin})`}`, { cause: error, fields: { path } });
  }
}

function bad(file: string, path: string, message: string): MeshError {
  return new MeshError('invalid', `${file}: ${path}: ${message}`, { fields: { file, path } });
}

function decodeFile(path: string, content: string): File {
  let value: Json;
  try {
    value = parse(content) as Json;
  } catch (error) {
    throw new MeshError('invalid', `${path} is not YAML: ${(error as Error).message}`, { cause: error, fields: { file: path, path: '' } });
  }
  const walk: Walk = { issues: [], unknown: [], resolve: () => ({}) };
  validate(SCHEMA as unknown as Schema, value, '', walk);
  const first = walk.issues[0];
  if (first !== undefined) throw bad(path, first.path, first.message);
  return value as unknown as File;
}

/** A kubeconfig with one context, everything inside. */
export function kubeconfigText(access: Access, name = 'proxima'): string {
  const b64 = (pem: string): string => Buffer.from(pem).toString('base64');
  const c = access.credential;
  const user = c.kind === 'certificate' ? { 'client-certificate-data': b64(c.cert), 'client-key-data': b64(c.key) } : c.kind === 'token' ? { token: c.token } : {};
  return stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': name,
    clusters: [{ name, cluster: { server: access.server, ...(access.ca === null ? {} : { 'certificate-authority-data': b64(access.ca) }), ...(access.serverName === undefined ? {} : { 'tls-server-name': access.serverName }) } }],
    contexts: [{ name, context: { cluster: name, user: name, ...(access.namespace === undefined ? {} : { namespace: access.namespace }) } }],
    users: [{ name, user }],
  });
}

/** Writes it readable by its owner only; a reader never sees half a file. */
export async function writeKubeconfig(path: string, access: Access, name?: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const temporary = `${path}.${randomUUID()}`;
  await writeFile(temporary, kubeconfigText(access, name), { mode: 0o600 });
  await rename(temporary, path);
}
