/** The demo's main line: each part of the story in turn, a summary of what was found true, and nothing left behind. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { cutUplink, killSite, restoreUplink } from './outage.ts';
import { showPresences } from './presences.ts';
import { Report, type CheckLine } from './report.ts';
import { DIR, setLab, startMesh, tearDown, TOPOLOGY, type Stage } from './stage.ts';
import { surviveKills } from './survive.ts';
import { askInAdvance } from './foresight.ts';
import { moveWithState } from './stateful.ts';
import { placeTogether } from './together.ts';
import { joinSites, startControl } from './opening.ts';
import { Story } from './story.ts';

export interface DemoOptions {
  readonly state: string;
  readonly keep: boolean;
  readonly write?: (line: string) => void;
  /** Also kill each kind of daemon once under traffic: the end-to-end test does. */
  readonly kills?: boolean;
}

/** Every line that was checked; all passed = the demo passed. */
export async function runDemo(options: DemoOptions): Promise<readonly CheckLine[]> {
  const report = new Report(options.write);
  const labs = join(options.state, 'labs');
  const before = leftovers();
  let story: Story | null = null;
  const abort = (): void => {
    console.error('interrupted: cleaning up');
    void tearDown(labs).finally(() => process.exit(130));
  };
  process.once('SIGINT', abort);
  process.once('SIGTERM', abort);
  let isGone: () => Promise<void> = async () => undefined;
  const parts: readonly [title: string, body: (s: Story) => Promise<void>][] = [
    ['A tenant, its network, a container application and a VM application', (s) => s.deployApplications()],
    ['Clients in four regions are served', (s) => s.serveClients()],
    ['What the scheduler says in advance', askInAdvance],
    ['Traffic shifts, and the applications follow', (s) => s.shiftTraffic()],
    ['The uplink is cut', cutUplink],
    ['Everything at the cut site dies and boots again, without the cloud', killSite],
    ['The uplink returns', restoreUplink],
    ...(options.kills === true ? [['Any one process dies', surviveKills] satisfies [string, (s: Story) => Promise<void>]] : []),
    ['A VM moves with its state', async (s) => {
      await s.takenBack.start();
      await moveWithState(s);
    }],
    ['A move turns out worse than predicted', (s) => s.takenBack.show()],
    ['Several groups at once, all or none', async (s) => void (isGone = await placeTogether(s))],
    ['Single services across the gateways, and refusals', async (s) => {
      await showPresences(s.stage, report, s.hot, s.stage.mesh.tokens.get(s.hot.name) ?? '');
      await isGone();
    }],
  ];
  try {
    const stage = await bringUp(report, labs, options.state);
    if (stage !== null) {
      story = new Story(stage, report);
      for (const [title, body] of parts) {
        report.step(title);
        const current = story;
        if (!(await report.part(title, () => body(current)))) tellLogs(report, stage);
      }
      story.memory();
      story.daemonsAlive();
    }
  } finally {
    story?.stopTicker();
    await story?.traffic.stop();
    await story?.onlyOne.end();
    await story?.takenBack.end();
    process.removeListener('SIGINT', abort);
    process.removeListener('SIGTERM', abort);
    if (options.keep) tellKept(report);
    else {
      report.step('Leaving nothing behind');
      await report.part('clean-up', async () => {
        await tearDown(labs);
        const left = leftovers().filter((l) => !before.includes(l));
        report.check('left behind', left.length === 0 ? 'no namespace, mount, cgroup or process' : left.slice(0, 5).join(', '), left.length === 0);
      });
    }
  }
  report.summary();
  return report.checks;
}

async function bringUp(report: Report, labs: string, state: string): Promise<Stage | null> {
  let stage: Stage | null = null;
  report.step('A lab: two regions, three edge sites, four client regions, a WAN');
  const isUp = await report.part('lab', async () => {
    const facts = await setLab(labs, report);
    report.check('lab deployed without Docker', `${TOPOLOGY.split('/').at(-1)}, ${facts.sites.length} sites, ${facts.clients.length} client regions`, true);
    report.step('Regions and the global scheduler');
    stage = await startMesh(facts, labs, state, report);
    await startControl(stage, report);
    report.step('Edge sites join');
    await joinSites(stage, report);
  });
  if (!isUp && stage !== null) tellLogs(report, stage);
  return isUp ? stage : null;
}

function tellLogs(report: Report, stage: Stage): void {
  for (const name of stage.processes.unexpected) report.say(`${name} ended; its log's end:\n${stage.processes.logTail(name.split(' ')[0] ?? '')}`);
  report.say(`logs of every daemon: ${join(DIR, 'logs')} (kept with --keep)`);
}

function tellKept(report: Report): void {
  report.step('The lab stays up');
  report.say(`look around:
  sudo ./proxima topology inspect ${TOPOLOGY}
  sudo nsenter --net=/run/netns/proxima-global kubectl --kubeconfig ${DIR}/global.kubeconfig get sites
  sudo nsenter --net=/run/netns/proxima-global kubectl --kubeconfig ${DIR}/west.kubeconfig get pods -A -o wide
logs: ${DIR}/logs
clean up: sudo ./proxima demo (a new run begins with that)`);
}

/** What could be left behind on the machine: namespaces, mounts, cgroups and processes that carry our names. */
function leftovers(): readonly string[] {
  const ours = /proxima-(global|core|metro|client|lan|[weabc]-)|px-demo/;
  const list = (dir: string): readonly string[] => {
    try {
      return readdirSync(dir);
    } catch {
      return []; // no such folder, so nothing in it
    }
  };
  const cgroups = ['', ...list('/sys/fs/cgroup')].flatMap((c) => list(`/sys/fs/cgroup/${c}/proxima`).map((g) => `cgroup ${c}/proxima-${g}`));
  const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n').map((l) => `mount ${l.split(' ')[1] ?? ''}`);
  const processes = list('/proc').filter((p) => /^\d+$/.test(p)).flatMap((p) => {
    try {
      const node = /\/proxima\/([^/\n]+)\//.exec(readFileSync(`/proc/${p}/cgroup`, 'utf8'))?.[1];
      return [`process ${p} ${node === undefined ? '' : `in proxima-${node} `}${readFileSync(`/proc/${p}/cmdline`, 'utf8').replaceAll('\0', ' ').slice(0, 80)}`];
    } catch {
      return []; // it ended while we looked
    }
  });
  return [...list('/run/netns').map((n) => `namespace ${n}`), ...mounts, ...cgroups, ...processes, ...list('/sys/fs/bpf/proxima').map((d) => `bpf proxima-${d}`)].filter((l) => ours.test(l));
}
