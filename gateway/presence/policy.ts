/** May this caller use this presence, for this request? Pure; the answer is no unless a presence says yes. */
import type { Presence } from '../../api/kinds/mesh.ts';
import { matchesPattern, parseSpiffe } from '../../certs/names.ts';
import type { CodeName } from '../mux/frames.ts';

/** A Presence as the gateways know it. */
export interface PresenceRule {
  /** `tenant/name` */
  readonly key: string;
  readonly direction: 'edge-to-cloud' | 'cloud-to-edge';
  readonly protocol: 'http' | 'tcp';
  readonly service: { readonly host: string; readonly port: number; readonly site: string | null };
  readonly listen: { readonly sites: readonly string[]; readonly address: string | null; readonly port: number };
  readonly callers: readonly string[];
  readonly allow: readonly { readonly methods: readonly string[]; readonly path: string }[];
  /** Set when the general HTTP path serves it: see general.ts. */
  readonly general: { readonly upstream: string; readonly rewritePrefix: string | null } | null;
}

export interface Caller {
  /** '' = no certificate. */
  readonly uri: string;
  readonly serial: string;
}

export type Verdict = { readonly ok: true } | { readonly ok: false; readonly code: CodeName; readonly reason: string };

const YES: Verdict = { ok: true };
const no = (code: CodeName, reason: string): Verdict => ({ ok: false, code, reason });

const UPSTREAM = 'mesh.proxima.io/upstream';
const REWRITE = 'mesh.proxima.io/rewrite-prefix';

export function ruleOf(presence: Presence): PresenceRule {
  const { spec, metadata } = presence;
  const upstream = metadata.annotations?.[UPSTREAM];
  const rewrite = metadata.annotations?.[REWRITE];
  const isGeneral = spec.protocol === 'http' && (upstream !== undefined || rewrite !== undefined);
  return {
    key: `${metadata.tenant ?? 'system'}/${metadata.name}`,
    direction: spec.direction,
    protocol: spec.protocol,
    service: { host: spec.service.host, port: spec.service.port, site: spec.service.site ?? null },
    listen: { sites: spec.listen.sites, address: spec.listen.address ?? null, port: spec.listen.port },
    callers: spec.callers,
    allow: spec.allow ?? [],
    general: isGeneral ? { upstream: upstream ?? `http://${spec.service.host}:${spec.service.port}`, rewritePrefix: rewrite ?? null } : null,
  };
}

/** Rules that a site's gateway needs: those it listens for and those whose service it reaches. */
export function rulesFor(site: string, rules: Iterable<PresenceRule>): PresenceRule[] {
  return [...rules].filter((r) => (r.direction === 'edge-to-cloud' ? r.listen.sites.includes(site) : r.service.site === site)).sort((a, b) => (a.key < b.key ? -1 : 1));
}

export interface OpenQuestion {
  readonly name: string;
  readonly rule: PresenceRule | undefined;
  readonly direction: PresenceRule['direction'];
  /** The edge site at the other end: where the caller is, or where the service is. */
  readonly site: string;
  readonly caller: Caller;
  readonly isRevoked: (serial: string) => boolean;
}

export function decideOpen(q: OpenQuestion): Verdict {
  const { rule, caller } = q;
  if (rule === undefined || rule.direction !== q.direction) return no('notExposed', `no presence ${q.name} is exposed here`);
  if (q.direction === 'edge-to-cloud' && !rule.listen.sites.includes(q.site)) return no('site', `presence ${rule.key} is not exposed to site ${q.site}`);
  if (q.direction === 'cloud-to-edge' && rule.service.site !== q.site) return no('site', `presence ${rule.key} has its service at another site`);
  if (caller.serial !== '' && q.isRevoked(caller.serial)) return no('revoked', `the certificate ${caller.serial} of ${caller.uri} is revoked`);
  if (caller.uri === '') return no('caller', `presence ${rule.key} needs a client certificate`);
  const id = parseSpiffe(caller.uri);
  if (id === null) return no('caller', `"${caller.uri}" is no identity of this mesh`);
  // A site's gateway vouches for its own nodes and for tenants, never for another site.
  if (q.direction === 'edge-to-cloud' && id.site !== null && id.site !== q.site) return no('caller', `site ${q.site} cannot speak for ${caller.uri}`);
  if (!rule.callers.some((p) => matchesPattern(p, caller.uri))) return no('caller', `${caller.uri} is not a caller of presence ${rule.key}`);
  return YES;
}

/** Paths are compared as they are sent, so a path with a second spelling is refused rather than guessed at. */
function isNormal(path: string): boolean {
  if (/%2e|%2f|%5c|%00|\\|[^\x21-\x7e]/i.test(path)) return false;
  const [first, ...segments] = path.split('/');
  return first === '' && segments.every((s, i) => s !== '.' && s !== '..' && (s !== '' || i === segments.length - 1));
}

function pathMatches(pattern: string, path: string): boolean {
  return pattern.endsWith('*') ? path.startsWith(pattern.slice(0, -1)) : pattern === path;
}

export function decideRequest(rule: PresenceRule, method: string, target: string): Verdict {
  const query = target.indexOf('?');
  const path = query < 0 ? target : target.slice(0, query);
  if (!isNormal(path)) return no('malformed', `path of ${method} request is not in normal form`);
  const onPath = rule.allow.filter((a) => pathMatches(a.path, path));
  if (onPath.length === 0) return no('method', `presence ${rule.key} does not allow the path ${path}`);
  if (!onPath.some((a) => a.methods.includes(method))) return no('method', `presence ${rule.key} does not allow ${method} ${path}`);
  return YES;
}
