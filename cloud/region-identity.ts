/** The certificates of a region process: those of the mesh, or an authority of its own for a region that stands alone. */
import { X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import type { Access } from '../api/kubeconfig.ts';
import { createAuthority, createRegionAuthority, issueToFiles, loadAuthority, loadRoot } from '../certs/authority.ts';
import { loadIdentity, renewalDue } from '../certs/enrol.ts';
import { readText } from '../certs/files.ts';
import { spiffe } from '../certs/names.ts';
import type { RegionConfig } from './config.ts';

export interface RegionIdentity {
  readonly tls: { readonly key: string; readonly cert: string; readonly ca: string };
  /** Whom the administrator's kubeconfig is for. */
  readonly admin: Extract<Access['credential'], { kind: 'certificate' }>;
}

/** A region that stands alone renews for itself, at each start and in time. */
const LIFETIME_MS = 365 * 86_400_000;

export function regionIdentity(config: RegionConfig): RegionIdentity {
  if (config.identity === null) return ownIdentity(config);
  const { keyPem, chainPem, trustPem } = loadIdentity(config.identity.dir, config.identity.use);
  // The mesh gives out no administrators here: the kubeconfig is the region's own identity.
  return { tls: { key: keyPem, cert: chainPem, ca: trustPem }, admin: { kind: 'certificate', cert: chainPem, key: keyPem } };
}

/** What the region should show now: what the mesh's files hold; of its own authority, a new leaf when the old one has had two thirds of its time. */
export function currentIdentity(config: RegionConfig, known: RegionIdentity, now: number): RegionIdentity {
  if (config.identity !== null) return regionIdentity(config);
  return now < renewalDue(new X509Certificate(known.tls.cert)) ? known : ownIdentity(config);
}

function ownIdentity(config: RegionConfig): RegionIdentity {
  const dir = join(config.dataDir, 'pki');
  const root = existsSync(join(dir, 'root.crt')) ? loadRoot(dir) : createAuthority(dir);
  const at = join(dir, `region-${config.region}`);
  const authority = existsSync(`${at}.crt`) ? loadAuthority(`${at}.crt`, `${at}.key`) : createRegionAuthority(root, config.region, dir);
  const names = ['localhost', '127.0.0.1', ...config.names, ...(/^(0\.0\.0\.0|::)$/.test(config.listen.address) ? [] : [config.listen.address])];
  const server = issueToFiles(authority, dir, 'region', { uri: spiffe.region(config.region), dns: names.filter((n) => isIP(n) === 0), ips: [...new Set(names.filter((n) => isIP(n) !== 0))], lifetimeMs: LIFETIME_MS });
  const admin = issueToFiles(authority, dir, 'admin', { uri: spiffe.admin('admin'), usage: ['client'], lifetimeMs: LIFETIME_MS });
  return {
    tls: { key: readText(server.keyFile, 'region key'), cert: readText(server.certFile, 'region certificate'), ca: readText(server.trustFile, 'trust') },
    admin: { kind: 'certificate', cert: readText(admin.certFile, 'admin certificate'), key: readText(admin.keyFile, 'admin key') },
  };
}
