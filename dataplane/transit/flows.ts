/**
 * UDP flows whose backend is gone: a datagram has no SYN that would choose anew, so their entries leave the table and the next datagram finds a
 * backend that is there. TCP connections stay as they are: one to a backend that is gone ends by itself, and the next SYN chooses anew.
 */
import type { GoalBackend, GoalEntry } from '../../api/goal.ts';
import { goalKey } from '../../api/goal.ts';
import { encode, PROTOCOL } from './layout.ts';

type Balanced = Extract<GoalEntry, { readonly kind: 'front' | 'scaled' }>;
type Entries = readonly { readonly key: Buffer; readonly value: Buffer }[];

const isBalanced = (e: GoalEntry): e is Balanced => e.kind === 'front' || e.kind === 'scaled';
const backendKey = (b: GoalBackend): string => encode.backend(b).subarray(0, 6).toString('hex');

/** Whether some balanced UDP port lost a backend, so that `lostFlows` is worth reading a table for. A backend of weight 0 is still there. */
export function lostBackends(before: ReadonlyMap<string, GoalEntry>, now: ReadonlyMap<string, GoalEntry>): boolean {
  return [...before.values()].some((e) => {
    if (!isBalanced(e) || e.protocol !== 'UDP' || e.backends.length === 0) return false;
    const next = now.get(goalKey(e));
    const left = new Set(next !== undefined && isBalanced(next) ? next.backends.map(backendKey) : []);
    return e.backends.some((b) => !left.has(backendKey(b)));
  });
}

/** Keys of entries of `flows` and `scaled_flows` that lead to nobody. */
export function lostFlows(goal: Iterable<GoalEntry>, have: { readonly flows: Entries; readonly scaled_flows: Entries }): { readonly flows: readonly Buffer[]; readonly scaled_flows: readonly Buffer[] } {
  const backends = new Map<string, ReadonlySet<string>>();
  for (const e of goal) {
    if (!isBalanced(e)) continue;
    const key = e.kind === 'front' ? encode.frontKey(e.address, e.port, e.protocol) : encode.scaledKey(e.vni, e.address, e.port, e.protocol);
    backends.set(`${e.kind}/${key.toString('hex')}`, new Set(e.backends.map(backendKey)));
  }
  const isLost = (kind: Balanced['kind'], called: Buffer, value: Buffer): boolean => backends.get(`${kind}/${called.toString('hex')}`)?.has(value.subarray(0, 6).toString('hex')) !== true;
  // flow_key: client 4, address 4, client port 2, port 2, protocol 1. reply_key: vni 4, pod 4, address 4, pod port 2, port 2, protocol 1.
  const end = Buffer.alloc(1);
  return {
    flows: have.flows.filter(({ key, value }) => key[12] === PROTOCOL.UDP && isLost('front', Buffer.concat([key.subarray(4, 8), key.subarray(10, 13), end]), value)).map(({ key }) => key),
    scaled_flows: have.scaled_flows.filter(({ key, value }) => key[16] === PROTOCOL.UDP && isLost('scaled', Buffer.concat([key.subarray(0, 4), key.subarray(8, 12), key.subarray(14, 17), end]), value)).map(({ key }) => key),
  };
}
