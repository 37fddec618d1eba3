/** What the 16 bit ids of the counters mean: the network plane's ConfigMap `telemetry-names`, kept on disk for when the region is out of reach. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Client } from '../../api/client.ts';
import { Informer } from '../../api/informer.ts';
import type { KubeObject } from '../../api/object.ts';
import { Resources } from '../../api/resources.ts';
import type { Service } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import { writeDurably } from '../../certs/files.ts';
import type { Names } from './traffic.ts';

type Table = Readonly<Record<string, string>>;
interface NamesMap extends KubeObject {
  readonly data?: { readonly applications?: string; readonly clientRegions?: string };
}

export class FollowedNames implements Names, Service {
  readonly name = 'names';
  readonly #file: string;
  readonly #maps: Informer<NamesMap>;
  #applications: Table;
  #clientRegions: Table;

  constructor(dir: string, client: Client, given: { readonly applications: Table; readonly clientRegions: Table }, log: Logger) {
    this.#file = join(dir, 'names.json');
    this.#applications = given.applications;
    this.#clientRegions = given.clientRegions;
    const take = (map: NamesMap): void => {
      const table = (text: string | undefined): Table => JSON.parse(text ?? '{}') as Table;
      this.#applications = { ...given.applications, ...table(map.data?.applications) };
      this.#clientRegions = { ...given.clientRegions, ...table(map.data?.clientRegions) };
      writeDurably(this.#file, JSON.stringify({ applications: this.#applications, clientRegions: this.#clientRegions }));
    };
    this.#maps = new Informer<NamesMap>({ client, log, resource: Resources.ConfigMap, list: { tenant: 'system', fieldSelector: 'metadata.name=telemetry-names' } });
    this.#maps.onChange((_, map) => {
      if (map !== null) take(map);
    });
  }

  async start(signal: AbortSignal): Promise<void> {
    if (existsSync(this.#file)) {
      const saved = JSON.parse(readFileSync(this.#file, 'utf8')) as { applications: Table; clientRegions: Table };
      this.#applications = { ...this.#applications, ...saved.applications };
      this.#clientRegions = { ...this.#clientRegions, ...saved.clientRegions };
    }
    await this.#maps.start(signal);
  }

  stop(): Promise<void> {
    return this.#maps.stop();
  }

  application(id: number): string | null {
    return this.#applications[String(id)] ?? null;
  }

  clientRegion(id: number): string | null {
    return this.#clientRegions[String(id)] ?? null;
  }
}
