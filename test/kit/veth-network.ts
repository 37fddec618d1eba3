/** A pod network without the data plane, for tests of the agent: one link per pod, and a /32 route from the node to it. */
import { createHash } from 'node:crypto';
import type { PodAddress } from '../../edge/agent/model.ts';
import type { PodAttachment, PodNetwork } from '../../edge/agent/network.ts';
import { run } from '../../edge/agent/exec.ts';

export class VethNetwork implements PodNetwork {
  readonly attached = new Map<string, PodAttachment>();

  async attach(a: PodAttachment): Promise<PodAddress> {
    const { address } = a;
    const host = a.tapName ?? hostEnd(a.podUid);
    if (a.netnsPath !== null) {
      await run('ip', ['link', 'del', host]).catch(() => undefined); // a repeat makes it anew
      await run('ip', ['link', 'add', host, 'type', 'veth', 'peer', 'name', 'pxpeer']);
      await run('ip', ['link', 'set', 'pxpeer', 'address', address.mac, 'netns', a.netnsPath]);
      const inside = `ip link set pxpeer name ${a.ifName} && ip link set ${a.ifName} up && ip link set lo up && ip addr add ${address.address}/${address.prefix} dev ${a.ifName} && ip route add default via ${address.gateway} dev ${a.ifName} onlink`;
      await run('nsenter', [`--net=${a.netnsPath}`, 'sh', '-c', inside]);
    }
    await run('ip', ['link', 'set', host, 'up']);
    await run('ip', ['addr', 'replace', `${address.gateway}/32`, 'dev', host]);
    await run('ip', ['route', 'replace', `${address.address}/32`, 'dev', host]);
    this.attached.set(a.podUid, a);
    return address;
  }

  async detach(podUid: string): Promise<void> {
    this.attached.delete(podUid);
    await run('ip', ['link', 'del', hostEnd(podUid)]).catch(() => undefined); // a VM has a tap, which is its runtime's
  }
}

function hostEnd(uid: string): string {
  return `pxv${createHash('sha256').update(uid).digest('hex').slice(0, 10)}`;
}
