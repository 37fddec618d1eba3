/** A Client with the cloud out of reach: every call fails as an unreachable server would. */
import type { Client } from '../../api/client.ts';
import { MeshError } from '../../api/errors.ts';

const fail = (): Promise<never> => Promise.reject(new MeshError('unavailable', 'the cloud is out of reach'));

export const offlineClient: Client = {
  get: fail,
  list: fail,
  watch: () => ({ [Symbol.asyncIterator]: () => ({ next: fail }) }),
  create: fail,
  update: fail,
  updateStatus: fail,
  patch: fail,
  delete: fail,
};
