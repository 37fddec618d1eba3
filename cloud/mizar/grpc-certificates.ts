/** A certificate that a gRPC server can be told to change: new handshakes get the new one, open streams go on. */
import { experimental, type ServerCredentials } from '@grpc/grpc-js';

export interface GrpcTls {
  /** PEM: trusted authorities, our chain, our key. */
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

type CaListener = experimental.CaCertificateUpdateListener;
type IdentityListener = experimental.IdentityCertificateUpdateListener;

export class GrpcCertificates implements experimental.CertificateProvider {
  readonly #ca = new Set<CaListener>();
  readonly #identity = new Set<IdentityListener>();
  #tls: GrpcTls;

  constructor(tls: GrpcTls) {
    this.#tls = tls;
  }

  /** Callers have to show a certificate of the same authorities. */
  get credentials(): ServerCredentials {
    return experimental.createCertificateProviderServerCredentials(this, this, true);
  }

  renew(tls: GrpcTls): void {
    this.#tls = tls;
    for (const tell of this.#ca) this.#tellCa(tell);
    for (const tell of this.#identity) this.#tellIdentity(tell);
  }

  addCaCertificateListener(listener: CaListener): void {
    this.#ca.add(listener);
    queueMicrotask(() => this.#tellCa(listener)); // whoever asks hears only after it has asked
  }

  removeCaCertificateListener(listener: CaListener): void {
    this.#ca.delete(listener);
  }

  addIdentityCertificateListener(listener: IdentityListener): void {
    this.#identity.add(listener);
    queueMicrotask(() => this.#tellIdentity(listener));
  }

  removeIdentityCertificateListener(listener: IdentityListener): void {
    this.#identity.delete(listener);
  }

  #tellCa(listener: CaListener): void {
    if (this.#ca.has(listener)) listener({ caCertificate: Buffer.from(this.#tls.ca) });
  }

  #tellIdentity(listener: IdentityListener): void {
    if (this.#identity.has(listener)) listener({ certificate: Buffer.from(this.#tls.cert), privateKey: Buffer.from(this.#tls.key) });
  }
}
