/**
 * An application at an edge site that calls a presence, as a process of its own on the site's network: mTLS with its own certificate.
 *   node caller.ts '{"kind":"http","host":"192.168.50.1","port":8090,"serverName":"gateway.edge-a.site.proxima","dir":"/certs","use":"till","method":"GET","path":"/items"}'
 * Prints one JSON line: { ok, status, text }.
 */
import { readFileSync } from 'node:fs';
import { request } from 'node:https';
import { join } from 'node:path';
import { connect } from 'node:tls';

export interface Call {
  readonly kind: 'http' | 'tcp';
  readonly host: string;
  readonly port: number;
  readonly serverName: string;
  /** Folder and name of the caller's key, certificate and trust. */
  readonly dir: string;
  readonly use: string;
  readonly method?: string;
  readonly path?: string;
  readonly hostHeader?: string;
  /** tcp: sent first. */
  readonly payload?: string;
}

export interface CallResult {
  readonly ok: boolean;
  readonly status: number | null;
  readonly text: string;
}

const call = JSON.parse(process.argv[2] ?? '{}') as Call;
const read = (suffix: string): Buffer => readFileSync(join(call.dir, suffix));
const tls = { host: call.host, port: call.port, servername: call.serverName, key: read(`${call.use}.key`), cert: read(`${call.use}.crt`), ca: read('trust.pem') };

function http(): Promise<CallResult> {
  return new Promise((resolve) => {
    const r = request({ ...tls, method: call.method ?? 'GET', path: call.path ?? '/', headers: { host: call.hostHeader ?? call.serverName }, agent: false }, (answer) => {
      let text = '';
      answer.on('data', (d: Buffer) => (text += d.toString()));
      answer.on('end', () => resolve({ ok: answer.statusCode === 200, status: answer.statusCode ?? null, text: text.trim() }));
    });
    r.on('error', (e) => resolve({ ok: false, status: null, text: e.message }));
    r.setTimeout(8_000, () => r.destroy(new Error('no answer in 8 s')));
    r.end();
  });
}

function tcp(): Promise<CallResult> {
  return new Promise((resolve) => {
    const socket = connect(tls, () => socket.write(call.payload ?? ''));
    let text = '';
    socket.on('data', (d: Buffer) => {
      text += d.toString();
      if (text.endsWith('\n')) socket.end();
    });
    socket.on('error', (e) => resolve({ ok: false, status: null, text: e.message }));
    socket.on('close', () => resolve({ ok: text !== '', status: null, text: text.trim() || 'closed without a word' }));
    socket.setTimeout(8_000, () => socket.destroy(new Error('no answer in 8 s')));
  });
}

process.stdout.write(`${JSON.stringify(await (call.kind === 'http' ? http() : tcp()))}\n`);
