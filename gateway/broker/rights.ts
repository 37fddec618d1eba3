/** Which topics an identity may use. Pure; whatever is not said here is refused, at the cloud and at the edge alike. */
import type { Identity } from '../../certs/names.ts';

export interface TopicRights {
  /** Topic filters, `#` only at the end. */
  readonly publish: readonly string[];
  readonly subscribe: readonly string[];
}

const NOTHING: TopicRights = { publish: [], subscribe: [] };

export function rightsOf(id: Identity): TopicRights {
  switch (id.kind) {
    case 'gateway':
    case 'node':
      return { publish: [`telemetry/${id.site}/#`], subscribe: [`cmd/${id.site}/#`] };
    case 'global':
    case 'admin':
    case 'region':
    case 'cloud-gateway':
      return { publish: ['cmd/#', 'telemetry/#'], subscribe: ['telemetry/#', 'cmd/#'] };
    case 'tenant':
      return { publish: [`tenant/${id.tenant}/#`], subscribe: [`tenant/${id.tenant}/#`] };
    default:
      return NOTHING;
  }
}

/** Does `filter` (a right) cover every topic that `asked` (a topic or a filter) stands for? */
export function covers(filter: string, asked: string): boolean {
  if (asked.length === 0 || asked.length > 1_024) return false;
  const have = filter.split('/');
  const want = asked.split('/');
  for (let i = 0; i < have.length; i++) {
    if (have[i] === '#') return want.length > i && want[i] !== '';
    if (have[i] !== want[i]) return false;
  }
  return have.length === want.length;
}

export function mayPublish(rights: TopicRights, topic: string): boolean {
  return rights.publish.some((f) => covers(f, topic));
}

export function maySubscribe(rights: TopicRights, filter: string): boolean {
  return rights.subscribe.some((f) => covers(f, filter));
}
