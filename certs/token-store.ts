/** TokenPort over JoinToken objects: spending is one conditional write of the status, so the API decides a race, not we. */
import type { Client } from '../api/client.ts';
import { isMeshError, MeshError } from '../api/errors.ts';
import type { Node } from '../api/kinds/core.ts';
import type { JoinToken } from '../api/kinds/mesh.ts';
import { Resources } from '../api/resources.ts';
import type { Granted, TokenPort, TokenUser } from './enrolment.ts';
import { tokenName } from './token.ts';

const CLUSTER = { tenant: null, namespace: null } as const;
const AGAIN = { next: 'make a new token: proxima site create' };

const used = (token: JoinToken): MeshError => new MeshError('unauthenticated', `token was already used at ${token.status?.usedAt ?? 'an unknown time'} by ${token.status?.usedBy ?? 'another node'}`, AGAIN);

export class ApiTokenPort implements TokenPort {
  readonly #client: Client;
  readonly #now: () => number;

  constructor(client: Client, options: { readonly now: () => number }) {
    this.#client = client;
    this.#now = options.now;
  }

  async consume(secretHash: string, by: TokenUser, admit: (granted: Granted) => void): Promise<Granted> {
    const token = await this.#find(secretHash);
    if (token.spec.site !== by.site) throw new MeshError('unauthenticated', `token is for site ${token.spec.site}, not ${by.site}`, AGAIN);
    if (token.status?.usedAt !== undefined) throw used(token);
    if (Date.parse(token.spec.expiresAt) < this.#now()) throw new MeshError('expired', `token expired at ${token.spec.expiresAt}`, AGAIN);
    const granted = { site: token.spec.site, role: token.spec.role };
    admit(granted);
    await this.#refuseTakenName(by);
    const status = { usedAt: new Date(this.#now()).toISOString(), usedBy: `${by.node} (${by.address})` };
    try {
      await this.#client.updateStatus<JoinToken>(Resources.JoinToken, { ...token, status });
    } catch (error) {
      if (!isMeshError(error, 'conflict')) throw error;
      const current = await this.#find(secretHash);
      throw current.status?.usedAt === undefined ? error : used(current);
    }
    return granted;
  }

  /** Nodes are named once in a region: two of one name would take turns at being it. */
  async #refuseTakenName(by: TokenUser): Promise<void> {
    const node = await this.#client.get<Node>(Resources.Node, CLUSTER, by.node).catch((error: unknown) => {
      if (isMeshError(error, 'not-found')) return null;
      throw error;
    });
    const site = node?.metadata.labels?.['mesh.proxima.io/site'];
    if (site === undefined || site === by.site) return;
    throw new MeshError('already-exists', `node ${by.node} is a node of site ${site} already`, { fields: { path: 'node' }, next: 'give this one another name: proxima join --node NAME; the token can still be used' });
  }

  async #find(secretHash: string): Promise<JoinToken> {
    const unknown = (): MeshError => new MeshError('unauthenticated', 'token is not known here', AGAIN);
    try {
      const token = await this.#client.get<JoinToken>(Resources.JoinToken, CLUSTER, tokenName(secretHash));
      if (token.spec.secretHash !== secretHash) throw unknown();
      return token;
    } catch (error) {
      // Tokens made by hand may have any name.
      if (!isMeshError(error, 'not-found')) throw error;
    }
    const { items } = await this.#client.list<JoinToken>(Resources.JoinToken);
    const token = items.find((t) => t.spec.secretHash === secretHash);
    if (token === undefined) throw unknown();
    return token;
  }
}
