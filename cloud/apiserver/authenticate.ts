/** The caller of one HTTP request: a bearer token when one is sent, else the connection's client certificate, else nobody. */
import type { IncomingMessage } from 'node:http';
import type { TLSSocket } from 'node:tls';
import { MeshError } from '../../api/errors.ts';
import { type Identity, identityOfCertificate, type StaticToken, tokenAuthenticator } from './identity.ts';

export interface AuthOptions {
  readonly tokens?: readonly StaticToken[];
  /** Serial numbers (lower-case hex) of client certificates that are no longer believed; asked on every request. */
  readonly isRevoked?: (serial: string) => boolean;
}

interface Known {
  readonly who: Identity;
  readonly serial: string;
}

export class Authenticator {
  readonly #tokens: (token: string) => Identity | null;
  readonly #isRevoked: (serial: string) => boolean;
  readonly #connections = new WeakMap<object, Known | null>();

  constructor(options: AuthOptions) {
    this.#tokens = tokenAuthenticator(options.tokens ?? []);
    this.#isRevoked = options.isRevoked ?? (() => false);
  }

  identify(request: IncomingMessage): Identity {
    if (request.headers['impersonate-user'] !== undefined) throw new MeshError('forbidden', 'impersonation is not served here', { next: 'use a credential of that user' });
    const header = request.headers.authorization ?? '';
    if (header.startsWith('Bearer ')) {
      const who = this.#tokens(header.slice('Bearer '.length).trim());
      if (who !== null) return who;
      throw new MeshError('unauthenticated', 'Unauthorized');
    }
    const known = this.#certificateOf(request.socket as TLSSocket);
    if (known === null) throw new MeshError('unauthenticated', 'Unauthorized');
    if (this.#isRevoked(known.serial)) throw new MeshError('unauthenticated', 'Unauthorized: the certificate was revoked');
    return known.who;
  }

  /** Read once per connection. */
  #certificateOf(socket: TLSSocket): Known | null {
    const known = this.#connections.get(socket);
    if (known !== undefined) return known;
    let made: Known | null = null;
    if (socket.authorized === true) {
      const certificate = socket.getPeerCertificate();
      made = { who: identityOfCertificate(certificate.subject, certificate.subjectaltname), serial: certificate.serialNumber.toLowerCase() };
    }
    this.#connections.set(socket, made);
    return made;
  }
}
