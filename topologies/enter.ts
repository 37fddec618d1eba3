/** Running things inside a node, and `ip` from outside for what spans two of them. */
import { spawn, type ChildProcess, type SpawnOptions } from 'node:child_process';
import { execa } from 'execa';
import { MeshError } from '../api/errors.ts';
import { netnsOf } from './lab.ts';

/** A process inside a node. */
export function spawnIn(lab: string, node: string, argv: readonly string[], options: SpawnOptions = {}): ChildProcess {
  return spawn('nsenter', [`--net=/run/netns/${netnsOf(lab, node)}`, '--', ...argv], options);
}

export interface ExecResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command inside a node to its end; a command that fails is a result, not an error. */
export async function execIn(lab: string, node: string, argv: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<ExecResult> {
  const { exitCode, stdout, stderr, shortMessage } = await execa('nsenter', [`--net=/run/netns/${netnsOf(lab, node)}`, '--', ...argv], { reject: false, env });
  return { exitCode: exitCode ?? 1, stdout, stderr: stderr || (exitCode === undefined ? String(shortMessage) : '') };
}

export async function shellIn(lab: string, node: string, command: string, env: Readonly<Record<string, string>> = {}): Promise<void> {
  const { exitCode, stderr } = await execIn(lab, node, ['sh', '-c', command], env);
  if (exitCode !== 0) throw new MeshError('io', `node ${node}: \`${command}\` failed: ${stderr.trim().split('\n')[0] || `exit code ${exitCode}`}`, { fields: { node, command } });
}

export async function ipBatch(lines: readonly string[]): Promise<void> {
  if (lines.length === 0) return;
  const { exitCode, stderr } = await execa('ip', ['-batch', '-'], { input: `${lines.join('\n')}\n`, reject: false });
  if (exitCode !== 0) throw new MeshError('io', `ip: ${stderr.trim().split('\n')[0]}`, { fields: { stderr } });
}
