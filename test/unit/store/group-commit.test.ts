import * as assert from 'node:assert/strict';
import { GroupCommit, groupSize } from '../../../cloud/store/group-commit.ts';
import { suite } from '../../kit/suite.ts';

const { it, run } = suite('group commit');

it('where a commit is short against the work, it takes half of all writes that are under way', () => {
  assert.equal(groupSize(16, 0, 0.8, 0.25), 8);
  assert.equal(groupSize(10, 8, 0.8, 0.25), 9);
  assert.equal(groupSize(3, 40, 0.8, 0.25), 3, 'no more than wait');
});

it('where the disk is what everybody waits for, and of a few writes, it takes all', () => {
  assert.equal(groupSize(16, 0, 10, 0.25), 16);
  assert.equal(groupSize(2, 0, 0.8, 0.25), 2);
  assert.equal(groupSize(1, 0, 0.8, 0.25), 1);
  assert.equal(groupSize(16, 0, Number.POSITIVE_INFINITY, 0), 16, 'nothing is known yet');
});

/** Transactions that the test begins and ends. */
function byHand(): { readonly commits: GroupCommit; readonly asked: { begin(): void; end(error?: Error): void }[] } {
  const asked: { begin(): void; end(error?: Error): void }[] = [];
  const commits = new GroupCommit((run) => new Promise((resolve, reject) => {
    asked.push({ begin: run, end: (error) => (error === undefined ? resolve(undefined) : reject(error)) });
  }));
  return { commits, asked };
}

it('writes run in order, are done only when their commit is, and the next transaction is asked for while one commits', async () => {
  const { commits, asked } = byHand();
  const said: string[] = [];
  const add = (name: string): Promise<void> => commits.add(() => said.push(`run ${name}`)).then(() => void said.push(`done ${name}`));
  const first = [add('a'), add('b')];
  assert.equal(asked.length, 1);
  asked[0]?.begin();
  const second = add('c');
  assert.equal(asked.length, 2);
  await Promise.resolve();
  assert.deepEqual(said, ['run a', 'run b']);
  asked[0]?.end();
  await Promise.all(first);
  asked[1]?.begin();
  asked[1]?.end();
  await second;
  assert.deepEqual(said, ['run a', 'run b', 'done a', 'done b', 'run c', 'done c']);
});

it('what one write throws is its own', async () => {
  const { commits, asked } = byHand();
  const bad = commits.add(() => {
    throw new Error('no');
  });
  const good = commits.add(() => undefined);
  asked[0]?.begin();
  asked[0]?.end();
  await assert.rejects(bad, /no/);
  await good;
});

it('a commit that fails fails its writes only; one that does not even begin fails all that wait, and later ones are tried again', async () => {
  const { commits, asked } = byHand();
  const failed = commits.add(() => undefined);
  asked[0]?.begin();
  const next = commits.add(() => undefined);
  asked[0]?.end(new Error('disk'));
  await assert.rejects(failed, /disk/);
  asked[1]?.end(new Error('closed'));
  await assert.rejects(next, /closed/);
  const last = commits.add(() => undefined);
  asked[2]?.begin();
  asked[2]?.end();
  await last;
});

run();
