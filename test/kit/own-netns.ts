/** Runs a test file inside a network namespace of its own, which goes when the file ends: no names, nothing to clean up. */
import { spawnSync } from 'node:child_process';

/** Call first thing, before any suite. `prepare` runs outside, where the network is. Returns why the file cannot run here, or null inside the namespace. */
export async function inOwnNetns(file: string, prepare?: () => Promise<unknown>): Promise<string | null> {
  if (process.env['PROXIMA_TEST_NETNS'] === file) return null;
  if (process.getuid?.() !== 0) return 'needs root';
  await prepare?.();
  const child = spawnSync('unshare', ['--net', '--', process.execPath, file, ...process.argv.slice(2)], { stdio: 'inherit', env: { ...process.env, PROXIMA_TEST_NETNS: file } });
  if (child.error !== undefined) return `unshare: ${child.error.message}`;
  process.exit(child.status ?? 1);
}
