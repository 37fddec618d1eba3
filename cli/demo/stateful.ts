/** A VM with state moves between regions: it stops at one site, its memory crosses the relays, and it goes on at the other where it stopped. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { placementOf } from './narrator.ts';
import { seconds, until } from './report.ts';
import type { Story } from './story.ts';

const COUNTER = join(import.meta.dirname, '..', '..', 'docs', 'examples', 'counter.yaml');
const [FROM, TO] = ['west', 'east'];
const PORT = 8082;

interface Answer {
  readonly site: string;
  /** Answers since the server in the VM started: it lives in the VM's memory and nowhere else. */
  readonly served: number;
}

/** Runs on the client's host. */
const ASK = `
const reply = await fetch(process.argv[1], { signal: AbortSignal.timeout(4000) });
console.log(JSON.stringify({ site: (await reply.json()).site, served: Number(reply.headers.get('served')) }));
`;

async function ask(netns: string, front: string): Promise<Answer> {
  const { stdout } = await execa('nsenter', [`--net=/run/netns/${netns}`, '--', process.execPath, '--input-type=module', '-e', ASK, `http://${front}:${PORT}/`], { reject: false });
  const { site, served } = JSON.parse(stdout === '' ? '{}' : stdout) as Partial<Answer>;
  if (site === undefined || served === undefined) throw new Error('the counter does not answer');
  return { site, served };
}

export async function moveWithState(story: Story): Promise<void> {
  const { stage, report } = story;
  const client = stage.facts.clients[0];
  const front = stage.facts.sites.find((s) => s.name === FROM)?.gateway.uplink ?? '';
  if (client === undefined) throw new Error('no client host');
  await story.kubectl(['apply', '-f', COUNTER]);
  report.say(`kubectl apply -f docs/examples/counter.yaml: a VM that counts, kept at ${FROM}`);
  const counting = (site: string, ms: number): Promise<Answer> => until(`the counter answering from ${site}`, ms, async () => {
    const a = await ask(client.netns, front);
    return a.site === site ? a : null;
  }, 500);
  await counting(FROM, 60_000);
  let before = await ask(client.netns, front);
  while (before.served < 10) before = await ask(client.netns, front);
  report.say(`it has answered ${before.served} requests; its policy now asks for ${TO}`);
  const started = Date.now();
  await story.kubectl(['apply', '-f', '-'], readFileSync(COUNTER, 'utf8').replace(`names: [${FROM}]`, `names: [${TO}]`));
  const after = await counting(TO, 90_000);
  const took = Date.now() - started;
  const move = await until('the move being recorded', 20_000, async () => (await placementOf(stage, 'counter')).status?.moves?.findLast((m) => m.phase === 'restored') ?? null, 500);
  report.check(`a VM with state moved from ${FROM} to ${TO} by snapshot and restore`, `counted ${before.served} before and ${after.served} after, down for ${seconds(move.downtimeMs ?? Number.NaN)} of ${seconds(took)}, ${((move.bytes ?? 0) / 2 ** 20).toFixed(1)} MiB over the relays`, after.served > before.served && move.downtimeMs !== undefined);
  await story.kubectl(['delete', '-f', COUNTER, '--wait=false']);
}
