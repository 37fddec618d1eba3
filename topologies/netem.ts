/** WAN emulation by the kernel's own netem, where there is one: a queue at each end of a veth pair. */
import { execa } from 'execa';
import { MeshError } from '../api/errors.ts';
import type { WanLink } from './lab.ts';

/** Asks the kernel by trying, in a namespace that goes with the command. */
export async function hasNetem(): Promise<boolean> {
  const { exitCode } = await execa('unshare', ['--net', 'tc', 'qdisc', 'add', 'dev', 'lo', 'root', 'netem', 'delay', '1ms'], { reject: false });
  return exitCode === 0;
}

export function netemArgs({ impairment: i, up }: Pick<WanLink, 'impairment' | 'up'>): readonly string[] {
  const args = ['limit', '4096'];
  if (i.delayUs > 0 || i.jitterUs > 0) args.push('delay', `${i.delayUs}us`);
  if (i.jitterUs > 0) args.push(`${i.jitterUs}us`);
  if (!up) args.push('loss', '100%');
  else if (i.lossPpm > 0) args.push('loss', `${i.lossPpm / 10_000}%`);
  // Jitter alone reorders; with a rate netem sends in order, as a wire does.
  if (i.rateKbit > 0 || i.jitterUs > 0) args.push('rate', `${i.rateKbit > 0 ? i.rateKbit : 10_000_000}kbit`);
  return args;
}

/** Whole packets with whole checksums, or the queue would count a 64 KiB super-packet as one. */
export async function prepareNetem(link: WanLink): Promise<void> {
  for (const end of link.ends) await inside(end.netns, ['ethtool', '-K', end.interface, 'tx', 'off', 'tso', 'off', 'gso', 'off']);
  await applyNetem(link);
}

export async function applyNetem(link: WanLink): Promise<void> {
  for (const end of link.ends) await inside(end.netns, ['tc', 'qdisc', 'replace', 'dev', end.interface, 'root', 'netem', ...netemArgs(link)]);
}

async function inside(netns: string, argv: readonly string[]): Promise<void> {
  const { exitCode, stderr } = await execa('nsenter', [`--net=/run/netns/${netns}`, '--', ...argv], { reject: false });
  if (exitCode !== 0) throw new MeshError('io', `${netns}: \`${argv.join(' ')}\` failed: ${stderr.trim().split('\n')[0]}`, { fields: { netns } });
}
