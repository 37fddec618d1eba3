/** The hot site's bad day: its uplink is cut, everything on it dies and boots without the cloud, and the uplink returns. */
import { readdirSync, readFileSync } from 'node:fs';
import { execa } from 'execa';
import { setLink } from '../../topologies/run.ts';
import type { NodeFacts } from './facts.ts';
import { foresee } from './foresight.ts';
import { allNodes } from './opening.ts';
import { seconds, until } from './report.ts';
import { pidsOf } from './stage.ts';
import { APPLICATIONS, HOT_RATE, type Story } from './story.ts';

const sleep = (ms: number): Promise<void> => new Promise((r) => setTimeout(r, ms));

async function setUplink(story: Story, up: boolean): Promise<void> {
  await setLink(story.stage.facts.lab, story.hotClients, story.hot.gateway.name, { up }, { stateDir: story.stage.labs });
}

/** Container pods of a node whose web server runs: of one that its node stopped the sandbox is left. */
function webServersOf(node: string): number {
  const pods = readdirSync('/proc').filter((p) => /^\d+$/.test(p)).flatMap((p) => {
    try {
      const [, pod] = new RegExp(`/proxima/${node}/([^/\n]+)/`).exec(readFileSync(`/proc/${p}/cgroup`, 'utf8')) ?? [];
      return pod !== undefined && readFileSync(`/proc/${p}/cmdline`, 'utf8').startsWith('httpd') ? [pod] : [];
    } catch {
      return []; // it ended while we looked
    }
  });
  return new Set(pods).size;
}

/** Pods of both kinds that answer inside the site, asked on the nodes themselves. */
async function podsRunning(story: Story): Promise<{ readonly containers: number; readonly vms: number }> {
  let containers = 0;
  let vms = 0;
  for (const n of allNodes(story.hot)) {
    const { stdout } = await execa('sh', ['-c', `for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline 2>/dev/null; echo; done | grep -E '${story.stage.mesh.path(n)}/' || true`]);
    vms += stdout.split('\n').filter((l) => l.includes('qemu-system')).length;
    containers += webServersOf(n);
  }
  return { containers, vms };
}

export async function cutUplink(story: Story): Promise<void> {
  const { report, traffic } = story;
  await story.onlyOne.isArmed();
  const running = await podsRunning(story);
  const foreseen = await foresee(story);
  report.say(`cutting the uplink of ${story.hot.name}`);
  const from = Date.now();
  await setUplink(story, false);
  const elsewhere = (): boolean => APPLICATIONS.every((a) => {
    const s = traffic.span(Date.now() - 2_000, Date.now(), story.hotClients, a);
    return s.ok > HOT_RATE / 2 && s.failed === 0 && (s.servedBy[story.hot.name] ?? 0) === 0;
  });
  await until(`${story.hotClients} being served from elsewhere`, 60_000, async () => (elsewhere() ? true : null), 250);
  const took = Date.now() - from - 2_000; // the span that was looked at was good from its beginning
  const s = traffic.span(from, Date.now(), story.hotClients, '*');
  report.check('seconds to fail over when the uplink is cut', `${seconds(Math.max(0, took))}, ${s.failed} of ${s.sent} requests failed, ${s.retried} answered by the second front`, took < 10_000);
  await sleep(6_000);
  await story.tell();
  const placed = await Promise.all(APPLICATIONS.map(async (a) => (await story.placementOf(a)).spec.sites.map((x) => x.site)));
  const hit = APPLICATIONS.filter((a, i) => placed[i]?.includes(foreseen.get(a) ?? '') === true);
  report.check('who takes over is what what-if had said', APPLICATIONS.map((a, i) => `${a.split('/').at(-1) ?? ''}: said ${foreseen.get(a) ?? 'nobody new'}, is at ${placed[i]?.join(', ') ?? ''}`).join('; '), hit.length === foreseen.size);
  // all but the one that has a fence
  const still = await until('the fenced pod being stopped by its node', 20_000, async () => {
    const now = await podsRunning(story);
    return now.containers < running.containers ? now : null;
  });
  report.check(`pods on ${story.hot.name} keep running while it is cut off`, `${still.containers} container and ${still.vms} VM pods, as before; the one with a fence was stopped by its node`, still.vms === running.vms && still.containers === running.containers - 1 && still.vms > 0 && still.containers > 0);
}

/** Its nodes' processes, all of them, by kill -9; then the agents and the gateway again, as a boot would, still without the cloud. */
export async function killSite(story: Story): Promise<void> {
  const { report, stage } = story;
  const before = await podsRunning(story);
  const names = stage.processes.names().filter((n) => n === `edge-gateway-${story.hot.name}` || allNodes(story.hot).some((x) => n === `agent-${x}`));
  const specs = [];
  for (const n of names) specs.push(await stage.processes.kill9(n));
  const killed = await killAllOf(story, [story.hot.gateway, ...story.hot.others]);
  report.say(`killed -9 every process of ${story.hot.name}: ${names.length} daemons and ${killed} others (containerd, pods, VMs, tunnel)`);
  const gone = await podsRunning(story);
  const from = Date.now();
  for (const s of specs) stage.processes.start(s);
  await until('pods coming back without the cloud', 120_000, async () => {
    const now = await podsRunning(story);
    return now.vms >= before.vms && now.containers >= before.containers ? true : null;
  }, 500);
  report.check('after kill -9 of everything and a boot without the cloud, pods are back', `container and VM pods after ${seconds(Date.now() - from)} (${gone.containers + gone.vms} were left in between)`, gone.vms === 0);
}

/** Processes in the nodes' namespaces, and those that name their folders: pods and their shims are in namespaces of their own. */
async function killAllOf(story: Story, nodes: readonly NodeFacts[]): Promise<number> {
  const inside = await Promise.all(nodes.map((n) => execa('ip', ['netns', 'pids', n.netns], { reject: false })));
  const named = pidsOf(nodes.map((n) => story.stage.mesh.path(n.name)), nodes.map((n) => n.name));
  const pids = new Set([...named, ...inside.flatMap((r) => r.stdout.split('\n').map(Number))].filter((p) => p > 1 && p !== process.pid));
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error; // its parent's end took it along
    }
  }
  await sleep(300);
  return pids.size;
}

export async function restoreUplink(story: Story): Promise<void> {
  const { report, traffic } = story;
  story.onlyOne.listen();
  await story.onlyOne.replaced();
  report.say(`the uplink of ${story.hot.name} returns`);
  const from = Date.now();
  await setUplink(story, true);
  await until(`${story.hotClients} being served from ${story.hot.name} again`, 180_000, async () => {
    await story.tell();
    return APPLICATIONS.every((a) => {
      const s = traffic.span(Date.now() - 2_000, Date.now(), story.hotClients, a);
      return s.ok > HOT_RATE / 2 && (s.servedBy[story.hot.name] ?? 0) === s.ok;
    }) ? true : null;
  }, 500);
  const took = Date.now() - from;
  const s = traffic.span(from, Date.now(), '*', '*');
  report.check('seconds until the returned site serves again', `${seconds(took)}, ${s.failed} of ${s.sent} requests failed`, s.failed === 0);
  await story.onlyOne.check();
}
