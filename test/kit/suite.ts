/**
 * uvu with its silent failures closed: a suite that forgets to run, has no tests, throws in a hook, hangs or uses `.only` in CI fails the file.
 *
 *   const { it, run } = suite('ipam');
 *   it('gives each endpoint its own address', () => { ... });
 *   run();
 */
import { suite as uvuSuite } from 'uvu';

export interface CaseContext {
  /** Registers a teardown that runs after this test, last registered first, even when the test fails. */
  after(teardown: () => unknown): void;
  readonly signal: AbortSignal;
}

export interface Suite {
  readonly it: (title: string, body: (t: CaseContext) => unknown, options?: { readonly timeoutMs?: number }) => void;
  /** Skips with a reason that is printed; returns the reason. */
  readonly skip: (title: string, reason: string) => void;
  readonly run: () => void;
}

const created: { name: string; ran: boolean; tests: number }[] = [];
let checking = false;

export function suite(name: string, defaults: { readonly timeoutMs?: number } = {}): Suite {
  const inner = uvuSuite(name);
  const state = { name, ran: false, tests: 0 };
  created.push(state);
  if (!checking) {
    checking = true;
    process.on('exit', (code) => {
      for (const s of created) {
        if (!s.ran || s.tests === 0) {
          console.error(`FAIL suite "${s.name}" ${s.ran ? 'has no tests' : 'was never run: call run() at the end of the file'}`);
          process.exitCode = code === 0 ? 1 : code;
        }
      }
    });
  }
  return {
    it(title, body, options = {}) {
      state.tests += 1;
      inner(title, async () => {
        const teardowns: (() => unknown)[] = [];
        const abort = new AbortController();
        const timeoutMs = options.timeoutMs ?? defaults.timeoutMs ?? 10_000;
        let timer: NodeJS.Timeout | undefined;
        const errors: unknown[] = [];
        try {
          await Promise.race([
            (async () => body({ after: (f) => teardowns.push(f), signal: abort.signal }))(),
            new Promise<never>((_, reject) => {
              timer = setTimeout(() => reject(new Error(`timed out after ${timeoutMs} ms`)), timeoutMs);
            }),
          ]);
        } catch (error) {
          errors.push(error ?? new Error(`threw ${String(error)}`));
        }
        clearTimeout(timer);
        abort.abort(new Error('test is over'));
        for (const teardown of teardowns.reverse()) {
          try {
            await teardown();
          } catch (error) {
            errors.push(error ?? new Error(`teardown threw ${String(error)}`));
          }
        }
        if (errors.length > 0) throw errors[0];
      });
    },
    skip(title, reason) {
      state.tests += 1;
      console.log(`SKIP ${name}: ${title}: ${reason}`);
      inner.skip(title, () => undefined);
    },
    run() {
      state.ran = true;
      inner.run();
    },
  };
}
