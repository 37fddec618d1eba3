/** The stream that leads to a node's agent: `@agent/<address>:<port>`. Its first byte from the edge is AGENT_REACHED; what follows is the agent's own TLS. */
import { BlockList, isIPv4 } from 'node:net';
import { parseSpiffe } from '../../certs/names.ts';
import type { Verdict } from './policy.ts';

const PREFIX = '@agent/';
const AUTHORITY = /^([0-9.]+):([0-9]{1,5})$/;

/** Says that the agent was reached: without it nobody could tell the cloud why a connection broke off before the first byte. */
export const AGENT_REACHED = 0;

export interface AgentAddress {
  readonly host: string;
  readonly port: number;
}

export const agentName = ({ host, port }: AgentAddress): string => `${PREFIX}${host}:${port}`;
export const isAgentName = (name: string): boolean => name.startsWith(PREFIX);

/** null = not an IPv4 address and a port. */
export function parseAgentAddress(authority: string): AgentAddress | null {
  const match = AUTHORITY.exec(authority);
  const [host, port] = [match?.[1] ?? '', Number(match?.[2])];
  return isIPv4(host) && port > 0 && port <= 65_535 ? { host, port } : null;
}

export interface AgentQuestion {
  readonly name: string;
  readonly caller: string;
  readonly serial: string;
  /** The one port that agents of the site listen at; null = no agent may be reached from the cloud. */
  readonly port: number | null;
  /** The site's LAN, `192.168.50.0/24`; null = not known. */
  readonly network: string | null;
  readonly isRevoked: (serial: string) => boolean;
}

export type AgentVerdict = { readonly ok: true; readonly at: AgentAddress } | Extract<Verdict, { readonly ok: false }>;

/** One port on one network, for a region: the connection stays a way to agents and never becomes a way into the site. */
export function decideAgent(q: AgentQuestion): AgentVerdict {
  const no = (code: 'caller' | 'revoked' | 'notExposed' | 'malformed', reason: string): AgentVerdict => ({ ok: false, code, reason });
  if (parseSpiffe(q.caller)?.kind !== 'region') return no('caller', `${q.caller === '' ? 'a caller without a certificate' : q.caller} may not ask for an agent: regions do`);
  if (q.isRevoked(q.serial)) return no('revoked', `the certificate ${q.serial} of ${q.caller} is revoked`);
  const at = parseAgentAddress(q.name.slice(PREFIX.length));
  if (at === null) return no('malformed', `${q.name} names no agent`);
  if (q.port === null) return no('notExposed', 'the agents of this site are not to be reached from the cloud');
  if (at.port !== q.port) return no('notExposed', `agents of this site listen at port ${q.port}, not ${at.port}`);
  const [base = '', bits] = (q.network ?? '').split('/');
  if (!isIPv4(base)) return no('notExposed', 'the gateway does not know the site’s network');
  const lan = new BlockList();
  lan.addSubnet(base, Number(bits ?? 32));
  return lan.check(at.host) ? { ok: true, at } : no('notExposed', `${at.host} is not in the site’s network ${q.network}`);
}
