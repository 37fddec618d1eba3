/** The entry points of the region process: `region start --config FILE [--check]`, or `--data DIR --port P --kubeconfig FILE` alone. */
import { createLogger, type Logger } from '../base/log.ts';
import { decodeRegionConfig, type RegionConfig } from './config.ts';
import { startRegion, type RunningRegion } from './region.ts';

export type { RunningRegion } from './region.ts';

/** Checks a configuration and gives it back with its defaults: `--check`. Touches nothing. */
export function regionCheck(input: unknown, source = 'region config'): RegionConfig {
  return decodeRegionConfig(input, source);
}

/** Resolves once everything listens. The caller stops it on SIGTERM. */
export async function regionStart(input: unknown, options: { readonly log?: Logger; readonly source?: string } = {}): Promise<RunningRegion> {
  const config = decodeRegionConfig(input, options.source ?? 'region config');
  return startRegion(config, options.log ?? createLogger({ name: 'region', level: config.logLevel }).child({ region: config.region }));
}
