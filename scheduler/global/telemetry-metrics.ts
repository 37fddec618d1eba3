/** What telemetry had to repair and what the forecast raises, for Prometheus. */
import { Counter, Gauge, type Registry } from 'prom-client';
import type { Forecast } from './predict.ts';
import type { Telemetry } from './telemetry.ts';

export function telemetryMetrics(registry: Registry, telemetry: Telemetry, forecast: Forecast): void {
  const registers = [registry];
  new Counter({
    name: 'proxima_global_telemetry_repairs_total',
    help: 'Samples that were dropped or repaired, by site and kind',
    labelNames: ['site', 'repair'],
    registers,
    collect() {
      this.reset();
      for (const [key, n] of telemetry.repairs) {
        const at = key.lastIndexOf(' ');
        this.inc({ site: key.slice(0, at), repair: key.slice(at + 1) }, n);
      }
    },
  });
  new Gauge({
    name: 'proxima_global_demand_profiles',
    help: 'Application x client region: known = with a profile of the day, raised = planned for more than is measured now',
    labelNames: ['state'],
    registers,
    collect() {
      this.set({ state: 'known' }, forecast.size);
      this.set({ state: 'raised' }, forecast.raised);
    },
  });
}
