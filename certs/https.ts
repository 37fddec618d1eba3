/** One small HTTPS exchange with a gateway whose name proves nothing: who it is follows from its certificate's URI. */
import { request } from 'node:https';
import type { PeerCertificate } from 'node:tls';
import { MeshError } from '../api/errors.ts';
import type { ErrorKind } from '../api/errors.ts';
import { identityOf } from './names.ts';

const LIMIT_BYTES = 256 * 1024;

export interface Exchange {
  /** host:port */
  readonly gateway: string;
  readonly path: string;
  /** Absent = GET. */
  readonly body?: unknown;
  /** The trust to check against, or null to take anything: only for fetching the trust that a pin then confirms. */
  readonly trustPem: string | null;
  readonly keyPem?: string;
  readonly certPem?: string;
  /** @default 10000 */
  readonly timeoutMs?: number;
}

/** For TLS ends that dial a cloud gateway: null when the certificate is one. */
export function checkCloudGateway(_host: string, certificate: PeerCertificate): Error | undefined {
  try {
    const id = identityOf(certificate);
    return id.kind === 'cloud-gateway' ? undefined : new MeshError('unauthenticated', `${id.uri} answered where a cloud gateway should`);
  } catch (error) {
    return error as Error;
  }
}

export function splitHostPort(address: string): { readonly host: string; readonly port: number } {
  const at = address.lastIndexOf(':');
  const port = Number(address.slice(at + 1));
  if (at <= 0 || !Number.isInteger(port) || port < 1 || port > 65_535) throw new MeshError('invalid', `expected host:port, got "${address}"`);
  return { host: address.slice(0, at).replace(/^\[|\]$/g, ''), port };
}

export function exchange(e: Exchange): Promise<unknown> {
  const { host, port } = splitHostPort(e.gateway);
  const body = e.body === undefined ? null : JSON.stringify(e.body);
  return new Promise((resolve, reject) => {
    const unavailable = (error: unknown): void => {
      if (error instanceof MeshError) return reject(error);
      const code = (error as NodeJS.ErrnoException).code ?? '';
      const isTrust = /CERT|SELF_SIGNED|SIGNATURE|UNABLE_TO/.test(code);
      const late = code === 'CERT_NOT_YET_VALID' || code === 'CERT_HAS_EXPIRED';
      const kind: ErrorKind = late ? 'clock-skew' : isTrust ? 'unauthenticated' : code === 'ETIMEDOUT' ? 'timeout' : 'unavailable';
      const next = late ? 'check the clock of this machine (date)' : isTrust ? 'the address leads to another mesh: check it' : `check that TCP port ${port} of ${host} can be reached from here (a firewall may block it)`;
      reject(new MeshError(kind, `gateway ${e.gateway}: ${(error as Error).message}`, { fields: { gateway: e.gateway, code }, cause: error, next }));
    };
    const req = request(
      {
        host,
        port,
        path: e.path,
        method: body === null ? 'GET' : 'POST',
        agent: false,
        minVersion: 'TLSv1.3',
        rejectUnauthorized: e.trustPem !== null,
        checkServerIdentity: e.trustPem === null ? () => undefined : checkCloudGateway,
        ...(e.trustPem === null ? {} : { ca: e.trustPem }),
        ...(e.keyPem === undefined || e.certPem === undefined ? {} : { key: e.keyPem, cert: e.certPem }),
        headers: body === null ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
        timeout: e.timeoutMs ?? 10_000,
      },
      (response) => {
        const parts: Buffer[] = [];
        let size = 0;
        response.on('data', (d: Buffer) => {
          size += d.length;
          if (size > LIMIT_BYTES) req.destroy(new MeshError('too-large', `gateway ${e.gateway}: its answer is longer than ${LIMIT_BYTES} bytes`));
          parts.push(d);
        });
        response.on('error', unavailable);
        response.on('end', () => {
          try {
            const answer: unknown = JSON.parse(Buffer.concat(parts).toString('utf8'));
            if (response.statusCode === 200) return resolve(answer);
            const { kind, message, next } = answer as { kind?: ErrorKind; message?: string; next?: string };
            reject(new MeshError(kind ?? 'unavailable', message ?? `gateway ${e.gateway}: HTTP ${response.statusCode}`, next === undefined ? {} : { next }));
          } catch (error) {
            reject(new MeshError('unavailable', `gateway ${e.gateway}: HTTP ${response.statusCode}, and no answer of a Proxima gateway`, { cause: error, next: 'check that the address is the enrolment service of a cloud gateway' }));
          }
        });
      },
    );
    req.on('timeout', () => req.destroy(Object.assign(new Error(`no answer in ${e.timeoutMs ?? 10_000} ms`), { code: 'ETIMEDOUT' })));
    req.on('error', unavailable);
    req.end(body ?? undefined);
  });
}
