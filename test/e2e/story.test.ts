/** The demo's story, asserted, and kill -9 of each kind of daemon while clients are being served. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { runDemo } from '../../cli/demo/demo.ts';
import { isBuilt } from '../../dataplane/transit/transit.ts';
import { suite } from '../kit/suite.ts';

const { it, skip, run } = suite('story', { timeoutMs: 560_000 });
const root = join(import.meta.dirname, '..', '..');

if (process.getuid?.() !== 0) skip('the whole story', 'network namespaces and eBPF need root');
else if (!isBuilt()) skip('the whole story', 'the data plane is not built: sh dataplane/build.sh');
else {
  it('places, reaches, moves, takes back, fails over, comes back, survives and refuses, and leaves nothing', async (t) => {
    // Images are kept where the demo keeps them, so that they are made once.
    const state = existsSync(join(root, '.proxima')) ? join(root, '.proxima') : mkdtempSync(join(tmpdir(), 'px-e2e-'));
    t.after(() => {
      if (state !== join(root, '.proxima')) rmSync(state, { recursive: true, force: true });
    });
    const lines = await runDemo({ state, keep: false, kills: true, write: (line) => console.log(line) });
    assert.equal(lines.filter((l) => !l.passed).map((l) => `${l.shown}: ${l.figure}`), []);
    assert.ok(lines.length >= 43, `the whole story has at least 43 lines, ${lines.length} were checked`);
  });
}

run();
