/** Questions to the global scheduler's REST face. Its own errors come back as they are, kind, message and next. */
import { request as plain } from 'node:http';
import { request as secure } from 'node:https';
import { MeshError, type ErrorKind } from '../api/errors.ts';

export interface GlobalOptions {
  readonly global?: string;
  readonly ca?: string;
}

const TIMEOUT_MS = 10_000;
const KINDS: ReadonlySet<string> = new Set<ErrorKind>(['invalid', 'not-found', 'unavailable', 'internal']);

function baseOf(o: GlobalOptions): URL {
  const text = o.global ?? process.env['PROXIMA_GLOBAL'];
  if (text === undefined || text === '') throw new MeshError('invalid', 'expected --global URL of the global scheduler (or PROXIMA_GLOBAL)', { fields: { path: '--global' }, next: 'its REST address, such as http://127.0.0.1:8080' });
  if (!/^https?:\/\//.test(text) || !URL.canParse(text)) throw new MeshError('invalid', `--global: expected http://HOST:PORT or https://HOST:PORT, got "${text}"`, { fields: { path: '--global' } });
  return new URL(text);
}

async function caOf(o: GlobalOptions): Promise<{ readonly ca?: string }> {
  if (o.ca === undefined) return {};
  const { readText } = await import('../certs/files.ts');
  return { ca: readText(o.ca, 'trust') };
}

function answerOf<T>(base: URL, status: number, text: string): T {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch (cause) {
    throw new MeshError('unavailable', `${base.origin} is no global scheduler: HTTP ${status}, and no JSON`, { cause, next: 'check the address: it is "rest" in the configuration of the global process' });
  }
  if (status === 200) return body as T;
  const { error, message, next } = body as { readonly error?: string; readonly message?: string; readonly next?: string | null };
  const kind = error !== undefined && KINDS.has(error) ? (error as ErrorKind) : 'unavailable';
  throw new MeshError(kind, message ?? `${base.origin}: HTTP ${status}`, typeof next === 'string' ? { next } : {});
}

export async function askGlobal<T>(o: GlobalOptions, path: string, query: Readonly<Record<string, string | undefined>> = {}): Promise<T> {
  const base = baseOf(o);
  const url = new URL(path, base);
  for (const [k, v] of Object.entries(query)) if (v !== undefined) url.searchParams.set(k, v);
  const trust = await caOf(o);
  const { status, text } = await new Promise<{ readonly status: number; readonly text: string }>((resolve, reject) => {
    const fail = (cause: Error): void => reject(new MeshError('unavailable', `the global scheduler at ${base.origin} cannot be asked: ${cause.message || (cause as NodeJS.ErrnoException).code || 'no answer'}`, { cause, next: /CERT|SELF_SIGNED|UNABLE_TO/.test((cause as NodeJS.ErrnoException).code ?? '') ? 'name the mesh authority: --ca FILE' : 'check that it runs there: proxima global start' }));
    const call = (url.protocol === 'https:' ? secure : plain)(url, { ...trust, agent: false, timeout: TIMEOUT_MS }, (answer) => {
      const parts: Buffer[] = [];
      answer.on('data', (d: Buffer) => parts.push(d)).on('error', fail).on('end', () => resolve({ status: answer.statusCode ?? 0, text: Buffer.concat(parts).toString('utf8') }));
    });
    call.on('timeout', () => call.destroy(new Error(`no answer in ${TIMEOUT_MS / 1000} s`))).on('error', fail).end();
  });
  return answerOf<T>(base, status, text);
}
