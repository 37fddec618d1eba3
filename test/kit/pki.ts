/** A throw-away certificate authority for tests that need TLS but not the mesh authority. */
import { generateKeyPairSync } from 'node:crypto';
import forge from 'node-forge';

export interface Leaf {
  readonly cert: string;
  readonly key: string;
  readonly serial: string;
}

export interface TestAuthority {
  readonly ca: string;
  issue(subject: { readonly cn: string; readonly o?: readonly string[] }): Leaf;
}

function keyPair(): { readonly pem: string; readonly publicKey: forge.pki.rsa.PublicKey; readonly privateKey: forge.pki.rsa.PrivateKey } {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const pem = privateKey.export({ type: 'pkcs1', format: 'pem' }).toString();
  const key = forge.pki.privateKeyFromPem(pem);
  return { pem, privateKey: key, publicKey: forge.pki.setRsaPublicKey(key.n, key.e) };
}

export function testAuthority(): TestAuthority {
  const root = keyPair();
  const rootName = [{ name: 'commonName', value: 'test authority' }];
  let serial = 0x10_000_001;
  const make = (subject: forge.pki.CertificateField[], publicKey: forge.pki.rsa.PublicKey, extensions: object[]): forge.pki.Certificate => {
    const cert = forge.pki.createCertificate();
    cert.publicKey = publicKey;
    cert.serialNumber = (serial++).toString(16);
    cert.validity.notBefore = new Date(Date.now() - 60_000);
    cert.validity.notAfter = new Date(Date.now() + 3_600_000);
    cert.setSubject(subject);
    cert.setIssuer(rootName);
    cert.setExtensions(extensions);
    cert.sign(root.privateKey, forge.md.sha256.create());
    return cert;
  };
  const ca = make(rootName, root.publicKey, [{ name: 'basicConstraints', cA: true }, { name: 'keyUsage', keyCertSign: true }]);
  return {
    ca: forge.pki.certificateToPem(ca),
    issue({ cn, o = [] }) {
      const pair = keyPair();
      const subject = [{ name: 'commonName', value: cn }, ...o.map((value) => ({ name: 'organizationName', value }))];
      const cert = make(subject, pair.publicKey, [
        { name: 'keyUsage', digitalSignature: true, keyEncipherment: true },
        { name: 'extKeyUsage', serverAuth: true, clientAuth: true },
        { name: 'subjectAltName', altNames: [{ type: 7, ip: '127.0.0.1' }, { type: 2, value: 'localhost' }] },
      ]);
      return { cert: forge.pki.certificateToPem(cert), key: pair.pem, serial: cert.serialNumber };
    },
  };
}
