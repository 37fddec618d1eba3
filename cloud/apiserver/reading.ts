/** Lists with continuation and watches with history, as stored bytes; nothing here parses an object unless a selector has to look inside. */
import type { Glance } from '../../api/client.ts';
import type { KindDefinition } from '../../api/definition.ts';
import { MeshError } from '../../api/errors.ts';
import type { Entry, Store, StoreEvent } from '../store/port.ts';
import { badRequest } from './errors.ts';
import { addressOf, prefixOf } from './keys.ts';
import { compile, type Selector } from './selectors.ts';

export interface Scope {
  /** A tenant, 'all', or null for cluster-scoped kinds. */
  readonly tenant: string | null;
  readonly namespace: string | null;
  readonly labelSelector: string;
  readonly fieldSelector: string;
  readonly glance?: Glance;
}

export interface Page {
  readonly entries: readonly Entry[];
  readonly revision: number;
  /** '' = that was all. */
  readonly next: string;
}

export interface Change {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly bytes: Uint8Array;
  readonly revision: number;
}

export type Happening = Change | { readonly type: 'BOOKMARK'; readonly revision: number; readonly initial?: boolean };

const PAGE = 500;

export async function list(store: Store, def: KindDefinition, scope: Scope, limit = 0, token = ''): Promise<Page> {
  const prefix = prefixOf(def.resource, scope.tenant, scope.namespace);
  const selector = compile(def, scope.labelSelector, scope.fieldSelector, needsNamespaceTest(scope) ? scope.namespace : null);
  const from = token === '' ? null : decodeToken(token);
  if (limit <= 0 && from === null) {
    const range = await store.range({ prefix });
    return { entries: filtered(def, range.entries, selector, scope.glance), revision: range.revision, next: '' };
  }
  const entries: Entry[] = [];
  let revision = from?.revision;
  let after = from?.after;
  for (;;) {
    const size = limit <= 0 ? PAGE : selector.all ? limit - entries.length : PAGE;
    const range = await store.range({ prefix, limit: size, ...(after === undefined ? {} : { after }), ...(revision === undefined ? {} : { revision }) });
    revision = range.revision;
    for (const [i, entry] of range.entries.entries()) {
      if (!selector.matches(addressOf(def.resource, entry.key), entry.value)) continue;
      entries.push(entry);
      const last = i === range.entries.length - 1 && !range.more;
      if (limit > 0 && entries.length === limit) return { entries, revision, next: last ? '' : encodeToken(revision, entry.key) };
    }
    if (!range.more) return { entries, revision, next: '' };
    after = range.entries.at(-1)?.key ?? after;
  }
}

const needsNamespaceTest = (scope: Scope): boolean => scope.tenant === 'all' && scope.namespace !== null;

function filtered(def: KindDefinition, entries: readonly Entry[], selector: Selector, glance: Glance | undefined): readonly Entry[] {
  const matching = selector.all ? entries : entries.filter((e) => selector.matches(addressOf(def.resource, e.key), e.value));
  return glance === undefined ? matching : matching.filter((e) => glance(nameOf(e.key), e.value));
}

/** The last part of a key. */
const nameOf = (key: string): string => key.slice(key.lastIndexOf('/') + 1);

const isOfUse = (glance: Glance, e: StoreEvent): boolean => e.value === null || glance(nameOf(e.key), e.value) || (e.previous !== null && glance(nameOf(e.key), e.previous));

const encodeToken = (revision: number, after: string): string => Buffer.from(JSON.stringify([revision, after])).toString('base64url');

function decodeToken(token: string): { readonly revision: number; readonly after: string } {
  try {
    const [revision, after] = JSON.parse(Buffer.from(token, 'base64url').toString('utf8')) as [unknown, unknown];
    if (typeof revision === 'number' && typeof after === 'string') return { revision, after };
  } catch (error) {
    throw new MeshError('invalid', 'continue key is not valid', { cause: error, fields: { path: 'continue', reason: 'BadRequest' } });
  }
  throw badRequest('continue key is not valid', 'continue');
}

/**
 * Everything after `after`, in order. An object that begins to match the selector is ADDED, one that ceases to is DELETED with the revision of
 * that change. Batches without a match give BOOKMARKs, so that a quiet watcher's position never falls behind compaction.
 */
export async function* watch(store: Store, def: KindDefinition, scope: Scope, after: number, signal: AbortSignal): AsyncGenerator<Happening> {
  const prefix = prefixOf(def.resource, scope.tenant, scope.namespace);
  const selector = compile(def, scope.labelSelector, scope.fieldSelector, needsNamespaceTest(scope) ? scope.namespace : null);
  const { glance } = scope;
  // The engine asks this before it wakes anybody: a region has dozens of watchers, and most of what is written is of use to one or two.
  const wants = (e: StoreEvent): boolean => (glance === undefined || isOfUse(glance, e)) && (selector.all || matched(e).is || matched(e).was);
  const matched = (e: StoreEvent): { readonly was: boolean; readonly is: boolean } => {
    const address = addressOf(def.resource, e.key);
    return { was: e.previous !== null && selector.matches(address, e.previous), is: e.value !== null && selector.matches(address, e.value) };
  };
  for await (const batch of store.watch({ prefix, after, ...(glance === undefined && selector.all ? {} : { wants }) }, signal)) {
    for (const e of batch.events) {
      if (glance !== undefined && !isOfUse(glance, e)) continue;
      const { was, is } = matched(e);
      if (is && e.value !== null) yield { type: was ? 'MODIFIED' : 'ADDED', bytes: e.value, revision: e.revision };
      else if (was && e.previous !== null) yield { type: 'DELETED', bytes: e.value ?? e.previous, revision: e.revision };
    }
    yield { type: 'BOOKMARK', revision: batch.revision };
  }
}

/** The state at one revision as ADDED, a marked BOOKMARK, then what happens from there on. */
export async function* watchFromState(store: Store, def: KindDefinition, scope: Scope, signal: AbortSignal): AsyncGenerator<Happening> {
  const page = await list(store, def, scope);
  for (const e of page.entries) yield { type: 'ADDED', bytes: e.value, revision: e.modRevision };
  yield { type: 'BOOKMARK', revision: page.revision, initial: true };
  yield* watch(store, def, scope, page.revision, signal);
}
