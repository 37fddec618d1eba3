/** What `proxima up` was asked for, where its files are, and the record of it that `down` goes by. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import { Type, type Static } from 'typebox';
import { decodeConfig } from '../../api/config.ts';
import { MeshError } from '../../api/errors.ts';

export const REGION = 'local';
export const SITE = 'local';
/** Unix sockets of containerd live under `<dir>/n`. */
const LONGEST_DIR = 58;

const Port = Type.Integer({ minimum: 1, maximum: 65_535 });
const Address = Type.String({ pattern: '^\\d{1,3}(\\.\\d{1,3}){3}$' });
const SettingsSchema = Type.Object(
  {
    node: Type.String({ pattern: '^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$' }),
    /** Address of the API and its ports: API, goal state, agent. */
    listen: Address,
    port: Port,
    goalPort: Port,
    agentPort: Port,
    /** The node's place on the substrate: made as a pair of virtual interfaces when the machine has none of this name. */
    interface: Type.String({ pattern: '^[a-zA-Z0-9._-]{1,14}$' }),
    address: Address,
    /** Of the VPC `default` of tenant system. */
    cidr: Type.String({ pattern: '^\\d{1,3}(\\.\\d{1,3}){3}/\\d{1,2}$' }),
    images: Type.String({ minLength: 1 }),
    withVms: Type.Boolean(),
  },
  { additionalProperties: false },
);
export type Settings = Static<typeof SettingsSchema>;

export interface Paths {
  readonly dir: string;
  readonly settings: string;
  readonly kubeconfig: string;
  readonly node: string;
  readonly region: string;
  readonly identity: string;
  readonly logs: string;
  readonly config: (daemon: Daemon) => string;
  readonly pid: (daemon: Daemon) => string;
  readonly log: (daemon: Daemon) => string;
}

export type Daemon = 'region' | 'agent';

export function pathsOf(given: string): Paths {
  const dir = resolve(given);
  if (Buffer.byteLength(dir) > LONGEST_DIR) throw new MeshError('invalid', `--dir: ${dir} is too long for unix sockets: at most ${LONGEST_DIR} bytes`, { fields: { path: '--dir' }, next: 'choose a shorter folder' });
  const at = (...parts: readonly string[]): string => join(dir, ...parts);
  return {
    dir, settings: at('up.json'), kubeconfig: at('admin.kubeconfig'), node: at('n'), region: at('region'), identity: at('identity'), logs: at('logs'),
    config: (d) => at(`${d}.json`), pid: (d) => at(`${d}.pid`), log: (d) => at('logs', `${d}.log`),
  };
}

/** The machine's name as a node may be called. */
export function nodeName(): string {
  return hostname().toLowerCase().replaceAll(/[^a-z0-9.-]+/g, '-').replaceAll(/^[.-]+|[.-]+$/g, '').slice(0, 63) || 'node';
}

export function checkSettings(input: unknown): Settings {
  return decodeConfig(SettingsSchema, input, 'up');
}

export function readSettings(paths: Paths): Settings | null {
  if (!existsSync(paths.settings)) return null;
  let input: unknown;
  try {
    input = JSON.parse(readFileSync(paths.settings, 'utf8'));
  } catch (cause) {
    throw new MeshError('invalid', `${paths.settings}: not JSON: ${(cause as Error).message}`, { fields: { path: paths.settings }, cause });
  }
  return decodeConfig(SettingsSchema, input, paths.settings);
}

export function write(path: string, value: unknown): void {
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, `${JSON.stringify(value, null, 2)}\n`, { mode: 0o600 });
}
