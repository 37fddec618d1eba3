/** How much each site's front gives to each site's instances: what the plan says, ramped up site by site, the rest to who serves already. */
import type { Backend } from '../../api/kinds/mizar.ts';
import type { Serve } from './planner.ts';

export interface Instances {
  readonly site: string;
  /** Ready, with an address, of the current epoch; `factor`, 0..100, is its weight among those of the site. */
  readonly addresses: readonly { readonly address: string; readonly factor: number }[];
  /** Not ready any more, but their flows may live on. */
  readonly leaving: readonly string[];
  /** 0..100: share of what the plan gives it that it may have now. */
  readonly factor: number;
  readonly isPlanned: boolean;
  /** How many instances are planned there; while fewer serve, and others still do, it gets no more than theirs of the share. @default as many as there are */
  readonly wanted?: number;
  /** Its relay can be reached from other sites. */
  readonly isReachable: boolean;
}

export interface FrontSituation {
  readonly front: string;
  readonly serves: readonly Serve[];
  readonly instances: readonly Instances[];
  /** The front that clients of a region use first. */
  readonly frontOf: (clientRegion: string) => string | null;
  readonly rtt: (from: string, to: string) => number;
}

export function frontShares(f: FrontSituation): ReadonlyMap<string, number> {
  const usable = f.instances.filter((i) => i.addresses.length > 0 && (i.isReachable || i.site === f.front));
  const near = (a: Instances, b: Instances): number => f.rtt(f.front, a.site) - f.rtt(f.front, b.site) || (a.site < b.site ? -1 : 1);
  const planned = usable.filter((i) => i.isPlanned && i.factor > 0).sort(near);
  // who is not in the plan any more, but serves until its replacement does
  const before = usable.filter((i) => !i.isPlanned && i.factor === 100).sort(near)[0];
  const target = new Map<string, number>();
  for (const s of f.serves) {
    if (s.rps <= 0 || f.frontOf(s.clientRegion) !== f.front || (before === undefined && !planned.some((i) => i.site === s.site))) continue;
    target.set(s.site, (target.get(s.site) ?? 0) + s.rps);
  }
  if (target.size === 0 && planned[0] !== undefined) target.set(planned[0].site, 1);
  const total = [...target.values()].reduce((a, b) => a + b, 0);
  const shares = new Map<string, number>();
  let given = 0;
  for (const [site, rps] of target) {
    const its = usable.find((i) => i.site === site);
    if (its === undefined) continue;
    const share = (rps / total) * (its.factor / 100) * (before === undefined ? 1 : presence(its));
    shares.set(site, share);
    given += share;
  }
  if (given < 1 - 1e-9) {
    const rest = before ?? usable.filter((i) => i.factor === 100).sort(near)[0] ?? planned[0] ?? usable.toSorted(near)[0];
    if (rest !== undefined) shares.set(rest.site, (shares.get(rest.site) ?? 0) + 1 - given);
  }
  return shares;
}

/** 0..1: how much of what is planned for a site is there and has its traffic. */
function presence({ addresses, wanted = addresses.length }: Instances): number {
  return Math.min(1, addresses.reduce((n, a) => n + a.factor, 0) / (100 * Math.max(1, wanted)));
}

/** Per instance, 0..100, the largest is 100. Who has no share stays listed with weight 0, so that its flows end in peace. */
export function backendsOf(shares: ReadonlyMap<string, number>, instances: readonly Instances[], port: number): Backend[] {
  const each = instances.flatMap((i) => {
    const sum = i.addresses.reduce((n, a) => n + a.factor, 0);
    const part = (factor: number): number => (sum === 0 ? 1 / i.addresses.length : factor / sum);
    return i.addresses.map(({ address, factor }) => ({ address, share: (shares.get(i.site) ?? 0) * part(factor) }));
  });
  const most = Math.max(0, ...each.map((e) => e.share));
  const leaving = instances.flatMap((i) => i.leaving.map((address) => ({ address, share: 0 })));
  return [...each, ...leaving]
    .map(({ address, share }): Backend => ({ address, port, weight: most === 0 || share === 0 ? 0 : Math.max(1, Math.round((share / most) * 100)) }))
    .sort((a, b) => (a.address < b.address ? -1 : 1));
}
