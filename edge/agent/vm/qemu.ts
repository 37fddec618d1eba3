/** The QEMU command line: one machine shape for templates, cold starts and restores, since a saved state fits only the shape it came from. */
import { createHash } from 'node:crypto';

export type Accel = 'kvm' | 'tcg';

export interface MachineOptions {
  readonly qemu: string;
  readonly accel: Accel;
  readonly memoryMiB: number;
  readonly cpus: number;
  readonly kernel: string;
  readonly initrd: string;
  readonly tap: string;
  readonly qmpSocket: string;
  readonly channelSocket: string;
  readonly consoleLog: string;
  /** A saved state to begin from, a file or `unix:PATH` to listen on for one; null = boot the kernel. */
  readonly incoming: string | null;
}

/** A guest calibrates its clock against timers that emulation may starve; telling it the frequency removes a random hang at boot. */
const APPEND = 'console=ttyS0 quiet panic=-1 reboot=t tsc_early_khz=2600000 mitigations=off nokaslr cryptomgr.notests no_timer_check';

/**
 * What a request waits for under emulation is the length of the guest's path through its kernel. String instructions step there byte by byte, so
 * the kernel's plain loops are faster and what is allocated is not zeroed first; the rest is accounting and policy that a guest of one process
 * has no use for.
 */
const EMULATED = {
  cpu: 'max,erms=off,fsrm=off',
  append: 'clearcpuid=rep_good init_on_alloc=0 psi=0 audit=0 apparmor=0 lsm= ipv6.disable=1 noautogroup cgroup_disable=memory randomize_kstack_offset=off hardened_usercopy=off',
  /** The processor's thread rings the queue itself: through an event file a packet waits for two turns of QEMU's main loop, not for one. */
  nic: ',ioeventfd=off',
} as const;
const HELPED = { cpu: 'host', append: '', nic: '' } as const;

/** QEMU's own placeholder address; the guest sets the endpoint's when it is told, so that a template serves every pod. */
export const TEMPLATE_MAC = '02:00:00:00:00:01';

export function qemuArgs(o: MachineOptions): readonly string[] {
  const fit = o.accel === 'tcg' ? EMULATED : HELPED;
  return [
    o.qemu,
    '-accel', o.accel === 'tcg' ? 'tcg,tb-size=32' : 'kvm',
    '-M', 'q35,usb=off,smbus=off,sata=off,vmport=off,graphics=off',
    '-cpu', fit.cpu,
    '-m', String(o.memoryMiB),
    '-smp', String(o.cpus),
    '-nodefaults', '-no-user-config', '-display', 'none',
    '-chardev', `file,id=console,path=${o.consoleLog},append=on`,
    '-serial', 'chardev:console',
    '-qmp', `unix:${o.qmpSocket},server=on,wait=off`,
    '-netdev', `tap,id=n0,ifname=${o.tap},script=no,downscript=no,vhost=off`,
    '-device', `virtio-net-pci,netdev=n0,mac=${TEMPLATE_MAC},romfile=${fit.nic}`,
    '-device', 'virtio-serial-pci',
    '-chardev', `socket,id=chan,path=${o.channelSocket},server=on,wait=off`,
    '-device', 'virtserialport,chardev=chan,name=io.proxima.agent',
    '-kernel', o.kernel,
    '-initrd', o.initrd,
    '-append', `${APPEND} ${fit.append}`.trimEnd(),
    ...incomingArgs(o.incoming),
  ];
}

/** -S: a guest from elsewhere runs when it is told to, whatever the state says. */
function incomingArgs(incoming: string | null): readonly string[] {
  if (incoming === null) return [];
  return incoming.startsWith('unix:') ? ['-S', '-incoming', incoming] : ['-incoming', `exec:cat ${incoming}`];
}

/** Equal where one QEMU reads what another wrote: the same release and the same machine. Paths and images do not count. */
export function machineDigest(spec: Pick<MachineOptions, 'accel' | 'memoryMiB' | 'cpus'>, version: string): string {
  const shape = qemuArgs({ ...spec, qemu: '', kernel: '', initrd: '', tap: '', qmpSocket: '', channelSocket: '', consoleLog: '', incoming: null });
  const release = /version (\d+\.\d+)/.exec(version)?.[1] ?? version;
  return createHash('sha256').update(JSON.stringify([release, shape])).digest('hex').slice(0, 16);
}
