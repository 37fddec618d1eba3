/** One region as the global scheduler sees it: a snapshot of its objects, whether its API answers, and the writes that go there. */
import type { Client, ResourceId } from '../../api/client.ts';
import { isMeshError } from '../../api/errors.ts';
import type { Deployment, Node, Pod } from '../../api/kinds/core.ts';
import type { Site } from '../../api/kinds/mesh.ts';
import type { Droplet } from '../../api/kinds/mizar.ts';
import type { KubeObject } from '../../api/object.ts';
import { Resources } from '../../api/resources.ts';
import { APPLICATION_LABEL, holds, SITE_LABEL } from './region-objects.ts';

/** Kinds that we write there, so that a write is only sent when something differs. */
const OURS = [Resources.Tenant, Resources.Namespace, Resources.Vpc, Resources.Subnet, Resources.Deployment, Resources.Endpoint, Resources.Droplet, Resources.ConfigMap] as const;

const idOf = (r: ResourceId, o: KubeObject): string => `${r.plural}|${r.scope === 'cluster' ? '' : (o.metadata.tenant ?? 'system')}|${r.scope === 'namespace' ? (o.metadata.namespace ?? 'default') : ''}|${o.metadata.name}`;

export class Region {
  readonly name: string;
  readonly client: Client;
  answers: boolean | null = null;
  /** Did it ever, since this process began? Until then nothing here is knowledge. */
  hasAnswered = false;
  sites: readonly Site[] = [];
  pods: readonly Pod[] = [];
  #nodes: readonly Node[] = [];
  #objects = new Map<string, KubeObject>();

  constructor(name: string, client: Client) {
    this.name = name;
    this.client = client;
  }

  /** Reads everything anew; on failure the last snapshot stays and `answers` is false. Returns the error that made it so. */
  async refresh(): Promise<unknown> {
    try {
      const all = { tenant: 'all' } as const;
      const [sites, pods, nodes, ...ours] = await Promise.all([
        this.client.list<Site>(Resources.Site),
        this.client.list<Pod>(Resources.Pod, { ...all, labelSelector: APPLICATION_LABEL }),
        this.client.list<Node>(Resources.Node),
        ...OURS.map(async (r) => ({ r, items: (await this.client.list<KubeObject>(r, r.scope === 'cluster' ? {} : all)).items })),
      ]);
      this.sites = sites.items;
      this.pods = pods.items;
      this.#nodes = nodes.items;
      this.#objects = new Map(ours.flatMap(({ r, items }) => items.map((o): [string, KubeObject] => [idOf(r, o), o])));
      this.answers = true;
      this.hasAnswered = true;
      return null;
    } catch (error) {
      this.answers = false;
      return error;
    }
  }

  /** silent: the region has not heard them for long. */
  nodesOf(site: string): { readonly known: number; readonly ready: number; readonly silent: number } {
    const its = this.#nodes.filter((n) => n.metadata.labels?.[SITE_LABEL] === site);
    const count = (status: string): number => its.filter((n) => n.status?.conditions?.some((c) => c.type === 'Ready' && c.status === status)).length;
    return { known: its.length, ready: count('True'), silent: count('Unknown') };
  }

  of<T extends KubeObject>(resource: ResourceId): T[] {
    const prefix = `${resource.plural}|`;
    return [...this.#objects].flatMap(([id, o]) => (id.startsWith(prefix) ? [o as T] : []));
  }

  deployment(tenant: string, namespace: string, name: string): Deployment | null {
    return (this.#objects.get(`deployments|${tenant}|${namespace}|${name}`) as Deployment | undefined) ?? null;
  }

  relays(): Droplet[] {
    return this.of<Droplet>(Resources.Droplet).filter((d) => d.spec.relay !== undefined && d.metadata.labels?.['mesh.proxima.io/foreign'] !== 'true');
  }

  podsOf(tenant: string, namespace: string, app: string, site: string): { readonly ready: readonly string[]; readonly leaving: readonly string[] } {
    const ready: string[] = [];
    const leaving: string[] = [];
    for (const p of this.pods) {
      const m = p.metadata;
      if (m.labels?.[APPLICATION_LABEL] !== app || m.labels[SITE_LABEL] !== site || (m.tenant ?? 'system') !== tenant || m.namespace !== namespace) continue;
      const ip = p.status?.podIP;
      if (ip === undefined || ip === '' || p.status?.phase === 'Failed' || p.status?.phase === 'Succeeded') continue;
      const isReady = p.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') === true;
      if (isReady && m.deletionTimestamp === undefined) ready.push(ip);
      else if (m.deletionTimestamp !== undefined) leaving.push(ip);
    }
    return { ready, leaving };
  }

  /** Makes the region hold `want`; true = something was written. */
  async ensure(resource: ResourceId, want: KubeObject): Promise<boolean> {
    const id = idOf(resource, want);
    const have = this.#objects.get(id);
    const part = { labels: want.metadata.labels };
    const { apiVersion: _v, kind: _k, metadata: _m, status: _s, ...content } = want as KubeObject & { readonly status?: unknown };
    if (have === undefined) {
      const made = await this.client.create(resource, want).catch(async (error: unknown) => {
        if (!isMeshError(error, 'already-exists')) throw error;
        return this.client.get(resource, this.#place(resource, want), want.metadata.name); // made since the snapshot; compared in the next pass
      });
      this.#objects.set(id, made);
      return true;
    }
    if (have.metadata.deletionTimestamp !== undefined) return false;
    if (holds(have, content) && holds(have.metadata.labels ?? {}, part.labels ?? {})) return false;
    const body = { ...content, ...(part.labels === undefined ? {} : { metadata: part }) };
    this.#objects.set(id, await this.client.patch(resource, this.#place(resource, want), want.metadata.name, body));
    return true;
  }

  async remove(resource: ResourceId, target: KubeObject): Promise<void> {
    const id = idOf(resource, target);
    if (!this.#objects.has(id)) return;
    await this.client.delete(resource, this.#place(resource, target), target.metadata.name).catch((error: unknown) => {
      if (!isMeshError(error, 'not-found')) throw error;
    });
    this.#objects.delete(id);
  }

  #place(resource: ResourceId, o: KubeObject): { readonly tenant: string | null; readonly namespace: string | null } {
    return { tenant: resource.scope === 'cluster' ? null : (o.metadata.tenant ?? 'system'), namespace: resource.scope === 'namespace' ? (o.metadata.namespace ?? 'default') : null };
  }
}
