/**
 * Services start in order and stop in reverse; every stop step runs even when one throws, and the first error wins.
 * A service never restarts: ready -> running -> draining -> stopped | failed.
 */
export interface Service {
  readonly name: string;
  start(signal: AbortSignal): Promise<void>;
  /** Idempotent. */
  stop(): Promise<void>;
}

export type Phase = 'ready' | 'running' | 'draining' | 'stopped' | 'failed';

export class ServiceGroup implements Service {
  readonly name: string;
  readonly #services: readonly Service[];
  readonly #stopDeadlineMs: number;
  #started: Service[] = [];
  #phase: Phase = 'ready';

  constructor(name: string, services: readonly Service[], options: { readonly stopDeadlineMs?: number } = {}) {
    this.name = name;
    this.#services = services;
    this.#stopDeadlineMs = options.stopDeadlineMs ?? 10_000;
  }

  get phase(): Phase {
    return this.#phase;
  }

  async start(signal: AbortSignal): Promise<void> {
    if (this.#phase !== 'ready') throw new Error(`${this.name} cannot start: it is ${this.#phase}`);
    this.#phase = 'running';
    for (const service of this.#services) {
      try {
        signal.throwIfAborted();
        await service.start(signal);
        this.#started.push(service);
      } catch (error) {
        await this.stop().catch(() => undefined); // the start error is the one to report
        this.#phase = 'failed';
        throw error;
      }
    }
  }

  async stop(): Promise<void> {
    if (this.#phase === 'stopped' || this.#phase === 'draining') return;
    this.#phase = 'draining';
    const errors: unknown[] = [];
    for (const service of this.#started.reverse()) {
      let timer: NodeJS.Timeout | undefined;
      const deadline = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new Error(`${service.name} did not stop within ${this.#stopDeadlineMs} ms`)), this.#stopDeadlineMs);
      });
      try {
        await Promise.race([service.stop(), deadline]);
      } catch (error) {
        errors.push(error);
      } finally {
        clearTimeout(timer);
      }
    }
    this.#started = [];
    this.#phase = 'stopped';
    if (errors.length > 0) throw errors[0];
  }
}
