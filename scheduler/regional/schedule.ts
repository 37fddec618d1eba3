/**
 * Pods onto the nodes of one region. Pure: equal input gives equal bindings, and never more than a node has.
 * Which site a pod belongs to was decided above (nodeSelector); here it is only which node.
 */
import type { Node, Pod } from '../../api/kinds/core.ts';
import { quantity, requestOf } from './amounts.ts';
import type { Amounts } from './amounts.ts';
import { refusedByCapacity, refusedByNode } from './fit.ts';

export type Verdict =
  | { readonly kind: 'bind'; readonly pod: Pod; readonly node: string }
  | { readonly kind: 'refuse'; readonly pod: Pod; readonly message: string };

interface Room {
  readonly node: Node;
  readonly total: Amounts;
  free: Amounts;
  /** Pods of each group (same controller) here. */
  readonly groups: Map<string, number>;
}

export const isOver = (pod: Pod): boolean => pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';
export const isWaiting = (pod: Pod): boolean => (pod.spec.nodeName ?? '') === '' && pod.metadata.deletionTimestamp === undefined && !isOver(pod);

const placeOf = (pod: Pod): string => `${pod.metadata.tenant ?? ''}/${pod.metadata.namespace ?? ''}`;
const nameOf = (pod: Pod): string => `${placeOf(pod)}/${pod.metadata.name}`;
/** Pods that should be apart: those of one controller. */
function groupOf(pod: Pod): string {
  const owner = pod.metadata.ownerReferences?.find((o) => o.controller === true);
  return owner === undefined ? nameOf(pod) : `${placeOf(pod)}/${owner.uid}`;
}

const less = (a: Amounts, b: Amounts): Amounts => ({ cpuMilli: a.cpuMilli - b.cpuMilli, memoryBytes: a.memoryBytes - b.memoryBytes, pods: a.pods - b.pods });

function roomOf(node: Node): Room {
  const given = node.status?.allocatable ?? node.status?.capacity ?? {};
  const total = { cpuMilli: Math.floor(quantity(given['cpu']) * 1000 + 1e-6), memoryBytes: quantity(given['memory']), pods: given['pods'] === undefined ? 110 : quantity(given['pods']) };
  return { node, total, free: total, groups: new Map() };
}

function take(room: Room, pod: Pod): void {
  room.free = less(room.free, requestOf(pod));
  const group = groupOf(pod);
  room.groups.set(group, (room.groups.get(group) ?? 0) + 1);
}

/** Oldest pods first, then by name. */
function inOrder(a: Pod, b: Pod): number {
  const [x, y] = [`${a.metadata.creationTimestamp ?? ''} ${nameOf(a)}`, `${b.metadata.creationTimestamp ?? ''} ${nameOf(b)}`];
  return x < y ? -1 : x > y ? 1 : 0;
}

/** Part of the node that would be in use, 0 to 1: the fuller of cpu and memory. */
function load(room: Room, asked: Amounts): number {
  const used = (total: number, free: number, more: number): number => (total <= 0 ? 1 : (total - free + more) / total);
  return Math.max(used(room.total.cpuMilli, room.free.cpuMilli, asked.cpuMilli), used(room.total.memoryBytes, room.free.memoryBytes, asked.memoryBytes));
}

function refusedBySpread(pod: Pod, room: Room, rooms: readonly Room[]): string | null {
  const group = groupOf(pod);
  for (const { topologyKey, maxSkew } of pod.spec.topologySpreadConstraints ?? []) {
    const domain = room.node.metadata.labels?.[topologyKey];
    if (domain === undefined) return `had no label ${topologyKey} to spread over`;
    const counts = new Map<string, number>();
    for (const r of rooms) {
      const d = r.node.metadata.labels?.[topologyKey];
      if (d !== undefined && refusedByNode(pod, r.node) === null) counts.set(d, (counts.get(d) ?? 0) + (r.groups.get(group) ?? 0));
    }
    if ((counts.get(domain) ?? 0) + 1 - Math.min(...counts.values()) > maxSkew) return "didn't match the pod's topology spread constraints";
  }
  return null;
}

function placeOne(pod: Pod, rooms: readonly Room[]): Verdict {
  const asked = requestOf(pod);
  const reasons = new Map<string, number>();
  let best: { readonly room: Room; readonly score: readonly [number, number] } | null = null;
  for (const room of rooms) {
    const why = refusedByNode(pod, room.node) ?? refusedByCapacity(asked, room.free) ?? refusedBySpread(pod, room, rooms);
    if (why !== null) {
      reasons.set(why, (reasons.get(why) ?? 0) + 1);
      continue;
    }
    const score = [room.groups.get(groupOf(pod)) ?? 0, load(room, asked)] as const;
    if (best === null || score[0] < best.score[0] || (score[0] === best.score[0] && score[1] < best.score[1])) best = { room, score };
  }
  if (best !== null) {
    take(best.room, pod);
    return { kind: 'bind', pod, node: best.room.node.metadata.name };
  }
  const list = [...reasons].sort(([a], [b]) => (a < b ? -1 : 1)).map(([why, n]) => `${n} ${why}`);
  return { kind: 'refuse', pod, message: `0/${rooms.length} nodes are available${list.length === 0 ? '' : `: ${list.join(', ')}`}.` };
}

/** `pods` are all pods of the region: those with a node take up room, those without get a verdict. */
export function schedule(pods: readonly Pod[], nodes: readonly Node[]): readonly Verdict[] {
  const rooms = [...nodes].filter((n) => n.metadata.deletionTimestamp === undefined).sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1)).map(roomOf);
  const byName = new Map(rooms.map((r) => [r.node.metadata.name, r]));
  for (const pod of pods) {
    const room = byName.get(pod.spec.nodeName ?? '');
    if (room !== undefined && !isOver(pod)) take(room, pod);
  }
  return pods.filter(isWaiting).sort(inOrder).map((pod) => placeOne(pod, rooms));
}
