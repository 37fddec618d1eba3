/** The scheduler's decisions, as it explains them, told once each while the story goes on. */
import pc from 'picocolors';
import type { Placement } from '../../api/kinds/mesh.ts';
import type { Report } from './report.ts';
import type { Stage } from './stage.ts';

export async function placementOf(stage: Stage, name: string): Promise<Placement> {
  return JSON.parse(await stage.mesh.kubectl('global', ['get', '--raw', `/apis/mesh.proxima.io/v1/tenants/acme/namespaces/default/placements/${name}`])) as Placement;
}

export const shortName = (application: string): string => application.split('/').at(-1) ?? '';

/** Tells each new decision once, as the scheduler explains it. */
export class Narrator {
  readonly #stage: Stage;
  readonly #report: Report;
  readonly #applications: readonly string[];
  readonly #told = new Set<string>();
  #isTelling = false;

  constructor(stage: Stage, report: Report, applications: readonly string[]) {
    this.#applications = applications;
    this.#stage = stage;
    this.#report = report;
  }

  async tell(): Promise<void> {
    if (this.#isTelling) return;
    this.#isTelling = true;
    try {
      await this.#tellNew();
    } finally {
      this.#isTelling = false;
    }
  }

  async #tellNew(): Promise<void> {
    for (const a of this.#applications) {
      const p = await placementOf(this.#stage, shortName(a));
      for (const m of p.status?.moves ?? []) {
        const key = `${a}${m.at}${m.phase}${m.to ?? ''}${m.from ?? ''}`;
        if (this.#told.has(key)) continue;
        this.#told.add(key);
        this.#report.say(`${pc.cyan(shortName(a))} ${m.to ?? m.from ?? ''}: ${pc.bold(m.phase)}; ${m.reason}`);
      }
    }
  }
}
