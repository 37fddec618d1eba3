/** vm console|pause|resume|reboot|snapshot|restore: what kubectl has no words for. */
import type { Command } from 'commander';
import { MeshError } from '../../api/errors.ts';
import { askAgent, findVm } from '../agent-endpoint.ts';
import { withClient } from '../connect.ts';

interface Options {
  readonly kubeconfig?: string;
  readonly namespace: string;
  readonly tenant: string;
}

/** A snapshot writes the guest's whole memory. */
const ACTION_MS = 120_000;
const CONSOLE_MS = 86_400_000;
const NEXT: Readonly<Record<string, (pod: string, name: string) => string>> = {
  pause: (pod) => `proxima vm resume ${pod}`,
  resume: (pod) => `proxima vm console ${pod}`,
  reboot: (pod) => `proxima vm console ${pod} --follow`,
  snapshot: (pod, name) => `proxima vm restore ${pod} --name ${name}`,
  restore: (pod) => `proxima vm console ${pod}`,
};
const DONE: Readonly<Record<string, string>> = { pause: 'is paused', resume: 'runs', reboot: 'boots again', snapshot: 'has the snapshot', restore: 'is as it was in' };

async function act(action: string, name: string, o: Options, snapshot: string): Promise<void> {
  await withClient(o.kubeconfig, async (connected) => {
    const pod = { tenant: o.tenant, namespace: o.namespace, name };
    await findVm(connected, pod, 'kubectl get pods -o wide shows which kind each is');
    await askAgent(connected, pod, { method: 'POST', path: `vm/${action}?name=${encodeURIComponent(snapshot)}`, timeoutMs: ACTION_MS });
    console.log(`${name} ${DONE[action] ?? action}${action === 'snapshot' || action === 'restore' ? ` ${snapshot}` : ''}`);
    console.log(`next: ${NEXT[action]?.(name, snapshot) ?? `proxima vm console ${name}`}${o.namespace === 'default' ? '' : ` -n ${o.namespace}`}${o.tenant === 'system' ? '' : ` --tenant ${o.tenant}`}`);
  });
}

async function consoleOf(name: string, o: Options & { readonly follow?: boolean; readonly lines?: string }): Promise<void> {
  if (o.lines !== undefined && !/^\d+$/.test(o.lines)) throw new MeshError('invalid', `--lines: expected a number, got "${o.lines}"`, { fields: { path: '--lines' } });
  await withClient(o.kubeconfig, async (connected) => {
    const pod = { tenant: o.tenant, namespace: o.namespace, name };
    await findVm(connected, pod, `kubectl logs ${name}`);
    let isSilent = true;
    const show = (text: string): void => {
      isSilent &&= text === '';
      process.stdout.write(text);
    };
    const query = new URLSearchParams({ ...(o.follow === true ? { follow: 'true' } : {}), ...(o.lines === undefined ? {} : { tailLines: o.lines }) });
    await askAgent(connected, pod, { method: 'GET', path: `log?${query.toString()}`, onData: show, timeoutMs: CONSOLE_MS });
    if (isSilent) console.error('the guest has written nothing to its console');
  });
}

export function register(program: Command): void {
  const vm = program.command('vm').description('VM pods, beside kubectl: console, pause, resume, reboot, snapshot, restore');
  const common = (c: Command): Command => c.option('--kubeconfig <file>', 'of the region').option('-n, --namespace <name>', 'the pod\'s', 'default').option('--tenant <name>', 'the pod\'s', 'system');
  common(vm.command('console <pod>').description('what the guest wrote to its console').option('-f, --follow', 'until it ends').option('--lines <n>', 'only the last ones')).action(consoleOf);
  for (const [action, what] of [['pause', 'stop its processors'], ['resume', 'let them go on'], ['reboot', 'reset it']] as const) {
    common(vm.command(`${action} <pod>`).description(what)).action((name: string, o: Options) => act(action, name, o, 'default'));
  }
  for (const [action, what] of [['snapshot', 'keep memory and devices on the node'], ['restore', 'go back to a snapshot']] as const) {
    common(vm.command(`${action} <pod>`).description(what).option('--name <name>', 'of the snapshot', 'default')).action((name: string, o: Options & { readonly name: string }) => act(action, name, o, o.name));
  }
}
