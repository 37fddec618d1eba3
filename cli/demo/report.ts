/** What the demo tells: numbered steps with live progress, a plain reason for each, and one summary line per thing that was checked. */
import pc from 'picocolors';
import { table } from '../output.ts';

export interface CheckLine {
  readonly shown: string;
  readonly figure: string;
  readonly passed: boolean;
}

export class Report {
  readonly #started = performance.now();
  readonly #checks: CheckLine[] = [];
  readonly #write: (line: string) => void;
  #step = 0;

  constructor(write: (line: string) => void = (line) => console.log(line)) {
    this.#write = write;
  }

  #clock(): string {
    return pc.dim(`${((performance.now() - this.#started) / 1000).toFixed(1).padStart(6)} s`);
  }

  step(title: string): void {
    this.#step += 1;
    this.#write(`\n${this.#clock()}  ${pc.bold(`${this.#step}. ${title}`)}`);
  }

  say(line: string): void {
    for (const l of line.split('\n')) this.#write(`${this.#clock()}     ${l}`);
  }

  /** Records a summary line; the figure is what was measured, `passed` what was found true. */
  check(shown: string, figure: string, passed: boolean): boolean {
    this.#checks.push({ shown, figure, passed });
    this.#write(`${this.#clock()}   ${passed ? pc.green('✓') : pc.red('✗')} ${shown}: ${figure}`);
    return passed;
  }

  /** Runs one part of the story; what it throws becomes a failed line, so that the summary is always complete. */
  async part(shown: string, body: () => Promise<void>): Promise<boolean> {
    try {
      await body();
      return true;
    } catch (error) {
      return this.check(shown, (error as Error).message.split('\n')[0] ?? 'failed', false);
    }
  }

  get checks(): readonly CheckLine[] {
    return this.#checks;
  }

  summary(): boolean {
    const failed = this.#checks.filter((c) => !c.passed).length;
    this.#write('');
    this.#write(table(['shown', 'figure', 'passed'], this.#checks.map((c) => [c.shown, c.figure, c.passed ? 'yes' : 'NO'])));
    this.#write(`\n${this.#checks.length - failed} of ${this.#checks.length} lines passed in ${((performance.now() - this.#started) / 1000).toFixed(0)} s`);
    return failed === 0 && this.#checks.length > 0;
  }
}

export const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

/** Waiting longer will not help. */
export class Hopeless extends Error {
  static override readonly name = 'Hopeless';
}

/** Polls until `probe` gives something; throws with the last thing that was seen when the time is over. */
export async function until<T>(what: string, timeoutMs: number, probe: () => Promise<T | null>, everyMs = 200): Promise<T> {
  const end = performance.now() + timeoutMs;
  let last = '';
  for (;;) {
    try {
      const got = await probe();
      if (got !== null) return got;
    } catch (error) {
      if (error instanceof Hopeless) throw error;
      last = `: ${(error as Error).message.split('\n')[0]}`;
    }
    if (performance.now() > end) throw new Error(`${what} did not happen within ${Math.round(timeoutMs / 1000)} s${last}`);
    await new Promise((r) => setTimeout(r, everyMs));
  }
}
