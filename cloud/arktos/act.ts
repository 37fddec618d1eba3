/** Steps done through a Client. What somebody else already did (gone, removed) is done; anything else is the loop's to try again. */
import type { Client } from '../../api/client.ts';
import { isMeshError } from '../../api/errors.ts';
import type { KubeObject } from '../../api/object.ts';
import { placeOf } from './model.ts';
import type { Step } from './model.ts';

/** Writes in flight together share one commit of the store. */
const TOGETHER = 16;

type Act = { readonly [K in Step['kind']]: (client: Client, step: Extract<Step, { kind: K }>) => Promise<KubeObject | null> };

async function unlessGone<T>(work: Promise<T>): Promise<T | null> {
  return work.catch((error: unknown) => {
    if (isMeshError(error, 'not-found')) return null;
    throw error;
  });
}

const ACT: Act = {
  create: (client, s) => client.create(s.resource, s.object),
  patch: (client, s) => unlessGone(client.patch(s.resource, placeOf(s.of), s.of.metadata.name, s.patch)),
  status: (client, s) => unlessGone(client.patch(s.resource, placeOf(s.of), s.of.metadata.name, { status: s.status }, { subresource: 'status' })),
  delete: async (client, s) => {
    const { uid, name } = s.of.metadata;
    const options = { ...(uid === undefined ? {} : { uid }), ...(s.graceSeconds === undefined ? {} : { gracePeriodSeconds: s.graceSeconds }) };
    // A conflict says that another object of that name is there now: ours is gone.
    await unlessGone(client.delete(s.resource, placeOf(s.of), name, options)).catch((error: unknown) => {
      if (!isMeshError(error, 'conflict')) throw error;
    });
    return null;
  },
};

const actOne = (client: Client, step: Step): Promise<KubeObject | null> => (ACT[step.kind] as (c: Client, s: Step) => Promise<KubeObject | null>)(client, step);

/** In order, one after the other. */
export async function actInOrder(client: Client, steps: readonly Step[]): Promise<void> {
  for (const step of steps) await actOne(client, step);
}

/** In any order, several at once; `done` hears of each as it is done. The first error is thrown after all have ended. */
export async function actTogether(client: Client, steps: readonly Step[], done: (step: Step, result: KubeObject | null) => void = () => undefined): Promise<void> {
  const left = [...steps];
  const errors: unknown[] = [];
  const work = async (): Promise<void> => {
    for (let step = left.shift(); step !== undefined; step = left.shift()) {
      try {
        done(step, await actOne(client, step));
      } catch (error) {
        errors.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(TOGETHER, steps.length) }, work));
  if (errors.length > 0) throw errors[0];
}
