/** What is known of a deployed lab: one JSON file in the state folder, so that any later process can inspect, change or destroy it. */
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Impairment } from './model.ts';

export interface WanEnd {
  readonly netns: string;
  readonly interface: string;
}

export interface WanLink {
  readonly id: string;
  readonly ends: readonly [WanEnd, WanEnd];
  /** As it is now: `setLink` changes it, and a WAN process that is started again takes it from here. */
  readonly impairment: Impairment;
  readonly up: boolean;
}

export interface WanProcess {
  readonly pid: number;
  /** Start time in clock ticks: with the pid, names one process for ever. */
  readonly startTime: string;
  readonly socket: string;
}

export interface LabState {
  readonly lab: string;
  readonly file: string;
  readonly hash: string;
  /** false while a deploy is under way; one that was interrupted is taken down before the next. */
  readonly complete: boolean;
  readonly nodes: readonly { readonly name: string; readonly kind: string; readonly netns: string; readonly labels: Readonly<Record<string, string>> }[];
  readonly emulation: 'none' | 'netem' | 'process';
  readonly wanLinks: readonly WanLink[];
  readonly wan: WanProcess | null;
}

export const netnsOf = (lab: string, node: string): string => `${lab}-${node.replaceAll(/[^A-Za-z0-9_.-]/g, '-')}`;
export const hasNetns = (netns: string): boolean => existsSync(`/run/netns/${netns}`);
const stateFile = (stateDir: string, lab: string): string => join(stateDir, `${lab}.lab.json`);

export function readLab(stateDir: string, lab: string): LabState | null {
  const file = stateFile(stateDir, lab);
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as LabState) : null;
}

/** By rename, so that a reader or a crash never meets half a file. */
export function saveLab(stateDir: string, state: LabState): void {
  const file = stateFile(stateDir, state.lab);
  writeFileSync(`${file}.${process.pid}`, JSON.stringify(state, null, 2));
  renameSync(`${file}.${process.pid}`, file);
}

export function forgetLab(stateDir: string, lab: string): void {
  for (const suffix of ['wan.sock', 'wan.log', 'lab.json']) rmSync(join(stateDir, `${lab}.${suffix}`), { force: true });
}
