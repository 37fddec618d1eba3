/** How far apart two places are, and how soon one can answer the other. */
export interface Location {
  readonly latitude: number;
  readonly longitude: number;
}

/** Light in fibre: 200 km a ms, there and back. */
const KM_PER_RTT_MS = 100;
const EARTH_DIAMETER_KM = 12_742;

/** Along the surface; null = one of them is not known. */
export function distanceKm(a: Location | null | undefined, b: Location | null | undefined): number | null {
  if (a === null || a === undefined || b === null || b === undefined) return null;
  const rad = Math.PI / 180;
  const h = Math.sin(((b.latitude - a.latitude) * rad) / 2) ** 2 + Math.cos(a.latitude * rad) * Math.cos(b.latitude * rad) * Math.sin(((b.longitude - a.longitude) * rad) / 2) ** 2;
  return EARTH_DIAMETER_KM * Math.asin(Math.min(1, Math.sqrt(h)));
}

/** ms that no round trip between the two can be below; null = one of them is not known. */
export function lightMs(a: Location | null | undefined, b: Location | null | undefined): number | null {
  const km = distanceKm(a, b);
  return km === null ? null : km / KM_PER_RTT_MS;
}
