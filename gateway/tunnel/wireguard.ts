/** Acting on a tunnel's plan. Works in the network namespace that this process is in. */
import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { existsSync, rmSync } from 'node:fs';
import { execa } from 'execa';
import { MeshError } from '../../api/errors.ts';
import type { Logger } from '../../base/log.ts';
import { readText, writeDurably } from '../../certs/files.ts';
import { checkSpec, decideTunnel, parseDump, readPrivateKey } from './tunnel.ts';
import type { ObservedTunnel, TunnelSpec, TunnelStep } from './tunnel.ts';

export type TunnelEngine = 'kernel' | 'wireguard-go';

export interface EnsuredTunnel {
  readonly engine: TunnelEngine;
  /** Public key of this end. */
  readonly publicKey: string;
  readonly steps: readonly TunnelStep[];
}

async function run(command: string, args: readonly string[], input?: string): Promise<string> {
  const result = await execa(command, args, { reject: false, ...(input === undefined ? {} : { input }) });
  if (result.exitCode === 0) return result.stdout;
  const missing = (result as { code?: string }).code === 'ENOENT';
  const detail = result.stderr?.trim() || result.shortMessage || `exit code ${result.exitCode}`;
  throw new MeshError(missing ? 'missing-file' : /permitted|EPERM/i.test(detail) ? 'missing-capability' : 'io', missing ? `${command} is not installed` : `${command} ${args.join(' ')}: ${detail}`, {
    next: missing ? `apt install ${command === 'ip' ? 'iproute2' : command === 'wg' ? 'wireguard-tools' : command}` : 'run as root, or with CAP_NET_ADMIN',
  });
}

interface Link {
  readonly mtu: number;
  readonly flags: readonly string[];
  readonly linkinfo?: { readonly info_kind?: string };
  readonly addr_info?: readonly { readonly local: string; readonly prefixlen: number; readonly family: string }[];
}

async function linkOf(name: string): Promise<Link | null> {
  const result = await execa('ip', ['-j', '-d', 'address', 'show', 'dev', name], { reject: false });
  if (result.exitCode !== 0) return null;
  return (JSON.parse(result.stdout) as Link[]).find((l) => l.mtu !== undefined) ?? null;
}

/** null = there is no such interface here. */
export async function observeTunnel(name: string): Promise<ObservedTunnel | null> {
  const link = await linkOf(name);
  if (link === null) return null;
  const dump = parseDump(await run('wg', ['show', name, 'dump']));
  const routes = JSON.parse((await run('ip', ['-j', 'route', 'show', 'dev', name])) || '[]') as readonly { readonly dst: string }[];
  const own = link.addr_info?.find((a) => a.family === 'inet');
  return {
    ...dump,
    address: own === undefined ? null : `${own.local}/${own.prefixlen}`,
    mtu: link.mtu,
    isUp: link.flags.includes('UP'),
    // `ip` leaves the prefix length of a host route out.
    routes: routes.map((r) => (r.dst.includes('/') ? r.dst : `${r.dst}/32`)),
  };
}

/** The kernel's device if it has one, by trying; wireguard-go goes into the background by itself once the interface is there. */
async function create(name: string, log: Logger): Promise<void> {
  const kernel = await execa('ip', ['link', 'add', name, 'type', 'wireguard'], { reject: false });
  if (kernel.exitCode === 0) return;
  const socket = `/var/run/wireguard/${name}.sock`;
  if (existsSync(socket)) {
    // Left behind by a process that was killed, or another namespace's: only the first may be removed.
    const alive = await execa('wg', ['show', name], { reject: false });
    if (alive.exitCode === 0) throw new MeshError('already-exists', `a tunnel named ${name} runs in another network namespace of this machine`, { next: 'give each tunnel a name of its own' });
    rmSync(socket, { force: true }); // `wg` removes a dead one itself, at times
  }
  log.info('kernel has no WireGuard, wireguard-go is used', { interface: name });
  // Its descriptors are kept by the daemon, so a pipe of ours would never end, and closing it would end the daemon.
  const started = await execa('wireguard-go', [name], { reject: false, stdio: 'ignore', cleanup: false, timeout: 10_000 });
  if (started.exitCode === 0 && (await linkOf(name)) !== null) return;
  const missing = (started as { code?: string }).code === 'ENOENT';
  throw new MeshError(missing ? 'missing-file' : 'io', missing ? 'the kernel has no WireGuard and wireguard-go is not installed' : `wireguard-go ${name} made no interface`, { next: missing ? 'apt install wireguard-go' : `see why: wireguard-go -f ${name} (it needs /dev/net/tun)` });
}

type Actions = { readonly [K in TunnelStep['kind']]: (spec: TunnelSpec, step: Extract<TunnelStep, { kind: K }>, log: Logger) => Promise<unknown> };

const actions: Actions = {
  create: (spec, _step, log) => create(spec.interface, log),
  key: (spec) => run('wg', ['set', spec.interface, 'private-key', spec.privateKeyFile]),
  port: (spec, step) => run('wg', ['set', spec.interface, 'listen-port', String(step.port)]),
  peer: (spec, { peer }) => run('wg', ['set', spec.interface, 'peer', peer.publicKey, 'persistent-keepalive', String(peer.keepalive), 'allowed-ips', peer.allowedIps.join(','), ...(peer.endpoint === null ? [] : ['endpoint', peer.endpoint])]),
  'remove-peer': (spec, step) => run('wg', ['set', spec.interface, 'peer', step.publicKey, 'remove']),
  address: async (spec, step) => {
    await run('ip', ['address', 'flush', 'dev', spec.interface]);
    await run('ip', ['address', 'add', step.address, 'dev', spec.interface]);
  },
  up: (spec, step) => run('ip', ['link', 'set', spec.interface, 'mtu', String(step.mtu), 'up']),
  route: (spec, step) => run('ip', ['route', 'replace', step.to, 'dev', spec.interface]),
};

/** Brings the interface to what `spec` says; doing it again does nothing. */
export async function ensureTunnel(spec: TunnelSpec, log: Logger): Promise<EnsuredTunnel> {
  checkSpec(spec);
  const privateKey = readPrivateKey(spec.privateKeyFile);
  const steps = decideTunnel(spec, privateKey, await observeTunnel(spec.interface));
  for (const step of steps) {
    await (actions[step.kind] as (s: TunnelSpec, t: TunnelStep, l: Logger) => Promise<unknown>)(spec, step, log);
    log.debug('tunnel step', { interface: spec.interface, step: step.kind });
  }
  const link = await linkOf(spec.interface);
  const after = await observeTunnel(spec.interface);
  if (link === null || after === null) throw new MeshError('internal', `tunnel ${spec.interface} is gone right after it was made`);
  return { engine: link.linkinfo?.info_kind === 'wireguard' ? 'kernel' : 'wireguard-go', publicKey: after.publicKey, steps };
}

/** Harmless when it is not there. wireguard-go ends with its interface. */
export async function removeTunnel(name: string): Promise<void> {
  if ((await linkOf(name)) === null) return;
  await run('ip', ['link', 'delete', 'dev', name]);
}

/** A private key in `path` (0600), made if there is none; the public key. */
export function ensureTunnelKey(path: string): string {
  if (existsSync(path)) return publicKeyOf(readText(path, 'tunnel key').trim());
  const jwk = generateKeyPairSync('x25519').privateKey.export({ format: 'jwk' });
  const key = Buffer.from(jwk.d ?? '', 'base64url').toString('base64');
  writeDurably(path, `${key}\n`, 0o600);
  return Buffer.from(jwk.x ?? '', 'base64url').toString('base64');
}

/** PKCS#8 frame of a raw X25519 private key (RFC 8410). */
const PKCS8_X25519 = Buffer.from('302e020100300506032b656e04220420', 'hex');

export function publicKeyOf(privateKey: string): string {
  const raw = Buffer.from(privateKey, 'base64');
  if (raw.length !== 32) throw new MeshError('invalid', 'tunnel key: expected 32 bytes in base64');
  const key = createPrivateKey({ key: Buffer.concat([PKCS8_X25519, raw]), format: 'der', type: 'pkcs8' });
  return Buffer.from(createPublicKey(key).export({ format: 'jwk' }).x ?? '', 'base64url').toString('base64');
}
