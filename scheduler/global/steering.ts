/** Which front a client should use, and in which order to try the others: measured latency first, what cannot be reached last. */
import type { SiteModel } from './model.ts';
import { isUsable } from './mover-model.ts';

export interface SteeredFront {
  readonly site: string;
  readonly address: string;
  readonly port: number;
  /** null = not known. */
  readonly rttMs: number | null;
}

export function steer(sites: readonly SiteModel[], port: number, rtt: (site: string) => number | null): SteeredFront[] {
  const rank = (s: { readonly site: SiteModel; readonly ms: number | null }): number => (isUsable(s.site.reach) ? 0 : 1e9) + (s.ms ?? 1e6);
  return sites
    .filter((s) => s.front !== null)
    .map((site) => ({ site, ms: rtt(site.name) }))
    .sort((a, b) => rank(a) - rank(b) || (a.site.name < b.site.name ? -1 : 1))
    .map(({ site, ms }) => ({ site: site.name, address: site.front as string, port, rttMs: ms === null ? null : Math.round(ms * 10) / 10 }));
}
