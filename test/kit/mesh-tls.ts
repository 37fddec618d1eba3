/** A mesh authority with certificates for a test's processes. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAuthority, createRegionAuthority, issueLeaf } from '../../certs/authority.ts';
import { generateKey, keyPem } from '../../certs/x509.ts';

export interface Tls {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  readonly serial: string;
}

export interface MeshTls {
  issue(uri: string): Tls;
  remove(): void;
}

export function meshTls(region = 'west'): MeshTls {
  const dir = mkdtempSync(join(tmpdir(), 'px-mesh-tls-'));
  const root = createAuthority(join(dir, 'root'));
  const authority = createRegionAuthority(root, region, join(dir, region));
  return {
    issue(uri) {
      const { publicKey, privateKey } = generateKey();
      const issued = issueLeaf(authority, { publicKey, uri, ips: ['127.0.0.1'] });
      return { ca: issued.trustPem, cert: issued.chainPem, key: keyPem(privateKey), serial: issued.serial };
    },
    remove: () => rmSync(dir, { recursive: true, force: true }),
  };
}
