/**
 * Questions to the global scheduler, with the credentials of the global API's kubeconfig: at that API's own address, or at the one of the REST
 * listener. Its errors come back as they are: kind, message and next.
 */
import { request as plain, type RequestOptions } from 'node:http';
import { request as secure } from 'node:https';
import { isMeshError, MeshError, type ErrorKind } from '../api/errors.ts';
import type { Access } from '../api/kubeconfig.ts';

export interface GlobalOptions {
  readonly kubeconfig?: string;
  /** Of the REST listener, when it is not the global API itself that is asked. */
  readonly global?: string;
  readonly ca?: string;
}

/** A plan over thousands of applications takes seconds. */
const TIMEOUT_MS = 60_000;
const KINDS: ReadonlySet<string> = new Set<ErrorKind>(['invalid', 'not-found', 'unavailable', 'internal', 'unauthenticated', 'forbidden', 'too-large', 'unsupported']);
const NEXT_CREDENTIAL = 'name the global API\'s kubeconfig: --kubeconfig FILE (or KUBECONFIG)';

interface Way {
  readonly base: URL;
  /** `/tenants/acme` of the kubeconfig's server, else ''. */
  readonly prefix: string;
  readonly options: RequestOptions;
}

function urlOf(text: string, from: string): URL {
  if (!/^https?:\/\//.test(text) || !URL.canParse(text)) throw new MeshError('invalid', `${from}: expected http://HOST:PORT or https://HOST:PORT, got "${text}"`, { fields: { path: from } });
  return new URL(text);
}

async function accessOf(o: GlobalOptions, isNeeded: boolean): Promise<Access | null> {
  const path = o.kubeconfig ?? process.env['KUBECONFIG'];
  if (path === undefined || path === '') {
    if (isNeeded) throw new MeshError('invalid', 'expected --kubeconfig FILE of the global API (or KUBECONFIG)', { fields: { path: '--kubeconfig' }, next: 'the global process writes it where "kubeconfig.path" of its configuration says' });
    return null;
  }
  const { loadKubeconfig } = await import('../api/kubeconfig.ts');
  return loadKubeconfig(path).catch((error: unknown) => {
    throw isMeshError(error, 'missing-file') ? new MeshError('missing-file', error.message, { fields: error.fields, cause: error, next: NEXT_CREDENTIAL }) : error;
  });
}

async function wayOf(o: GlobalOptions): Promise<Way> {
  const named = o.global ?? process.env['PROXIMA_GLOBAL'] ?? '';
  const access = await accessOf(o, named === '');
  const base = named === '' ? urlOf(access?.server ?? '', 'server of the kubeconfig') : urlOf(named, '--global');
  const ca = o.ca === undefined ? (access?.ca ?? null) : (await import('../certs/files.ts')).readText(o.ca, 'trust');
  const credential = access?.credential;
  return {
    base,
    prefix: named === '' ? base.pathname.replace(/\/+$/, '') : '',
    options: {
      ...(ca === null ? {} : { ca }),
      ...(credential?.kind === 'certificate' && base.protocol === 'https:' ? { cert: credential.cert, key: credential.key } : {}),
      ...(named === '' && access?.serverName !== undefined ? { servername: access.serverName } : {}),
      headers: credential?.kind === 'token' ? { authorization: `Bearer ${credential.token}` } : {},
    } as RequestOptions,
  };
}

function answerOf<T>(base: URL, status: number, text: string): T {
  let body: { readonly kind?: string; readonly error?: string; readonly message?: string; readonly next?: string | null };
  try {
    body = JSON.parse(text) as typeof body;
  } catch (cause) {
    throw new MeshError('unavailable', `${base.origin} is no global scheduler: HTTP ${status}, and no JSON`, { cause, next: 'check the address: the global API, or "rest" in the configuration of the global process' });
  }
  if (status === 200) return body as T;
  const next = body.next ?? (status === 401 || status === 403 ? NEXT_CREDENTIAL : null);
  if (body.kind === 'Status' && status === 404) throw new MeshError('not-found', `${base.origin} has no scheduler: it is the API of a region, not the global one`, { next: NEXT_CREDENTIAL });
  const kind = body.error ?? { 401: 'unauthenticated', 403: 'forbidden' }[status] ?? '';
  throw new MeshError(KINDS.has(kind) ? (kind as ErrorKind) : 'unavailable', body.message ?? `${base.origin}: HTTP ${status}`, next === null ? {} : { next });
}

export interface Question {
  readonly path: string;
  readonly query?: Readonly<Record<string, string | undefined>>;
  /** Sent by POST. */
  readonly body?: unknown;
}

export async function askGlobal<T>(o: GlobalOptions, question: Question): Promise<T> {
  const { base, prefix, options } = await wayOf(o);
  const url = new URL(`${prefix}${question.path}`, base);
  for (const [k, v] of Object.entries(question.query ?? {})) if (v !== undefined) url.searchParams.set(k, v);
  const body = question.body === undefined ? null : JSON.stringify(question.body);
  const headers = { ...(options.headers as object), ...(body === null ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }) };
  const { status, text } = await new Promise<{ readonly status: number; readonly text: string }>((resolve, reject) => {
    const fail = (cause: Error): void => reject(new MeshError('unavailable', `the global scheduler at ${base.origin} cannot be asked: ${cause.message || (cause as NodeJS.ErrnoException).code || 'no answer'}`, { cause, next: nextOf(cause) }));
    const call = (url.protocol === 'https:' ? secure : plain)(url, { ...options, method: body === null ? 'GET' : 'POST', headers, agent: false, timeout: TIMEOUT_MS }, (answer) => {
      const parts: Buffer[] = [];
      answer.on('data', (d: Buffer) => parts.push(d)).on('error', fail).on('end', () => resolve({ status: answer.statusCode ?? 0, text: Buffer.concat(parts).toString('utf8') }));
    });
    call.on('timeout', () => call.destroy(new Error(`no answer in ${TIMEOUT_MS / 1000} s`))).on('error', fail).end(body ?? undefined);
  });
  return answerOf<T>(base, status, text);
}

function nextOf(cause: Error): string {
  const code = (cause as NodeJS.ErrnoException).code ?? '';
  return /CERT|SELF_SIGNED|UNABLE_TO/.test(code) ? 'name the mesh authority: --ca FILE' : 'check that it runs there: proxima global start';
}
