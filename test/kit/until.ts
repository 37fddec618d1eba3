/** Waiting in tests for what happens elsewhere: by looking again, with a limit, and with what was seen last in the error. */
export interface WaitOptions {
  /** Milliseconds until the wait fails; 8,000 when absent. */
  readonly withinMs?: number;
  /** Milliseconds between two looks; 25 when absent. */
  readonly everyMs?: number;
  /** True: an error of the look means "not yet", as with a server that does not listen yet; a look that only asserts answers undefined, which counts. */
  readonly retriesErrors?: boolean;
}

type Nothing = null | undefined | false;
export type Until = <T>(what: string, look: () => Promise<T | Nothing> | T | Nothing, options?: WaitOptions) => Promise<T>;

/** An `until` for a suite whose waits have limits of their own:  `const until = waiter({ withinMs: 15_000 });` */
export function waiter(defaults: WaitOptions): Until {
  return async <T>(what: string, look: () => Promise<T | Nothing> | T | Nothing, options: WaitOptions = {}): Promise<T> => {
    const { withinMs = 8_000, everyMs = 25, retriesErrors = false } = { ...defaults, ...options };
    for (const end = performance.now() + withinMs; ; ) {
      let last: unknown;
      try {
        const found = await look();
        if (found !== null && found !== false && (found !== undefined || retriesErrors)) return found as T;
      } catch (error) {
        if (!retriesErrors) throw error;
        last = error;
      }
      if (performance.now() > end) throw new Error(`not within ${withinMs} ms: ${what}${last === undefined ? '' : `: ${(last as Error).message}`}`, { cause: last });
      await new Promise((resolve) => setTimeout(resolve, everyMs));
    }
  };
}

/** What `look` answers as soon as that is something. */
export const until: Until = waiter({});
