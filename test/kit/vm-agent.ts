/** An agent in a network namespace of its own, with plain routes in place of the data plane. Waits for a line on standard input: until then its links are made. Ends with the test that started it. */
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { run } from '../../edge/agent/exec.ts';
import { agentStart, type AgentTransit } from '../../edge/main.ts';

const routes: AgentTransit = {
  name: 'routes',
  start: () => Promise.resolve(),
  stop: () => Promise.resolve(),
  async attachEndpoint({ ifName, gateway, address }) {
    await run('ip', ['addr', 'replace', `${gateway}/32`, 'dev', ifName]);
    await run('ip', ['route', 'replace', `${address}/32`, 'dev', ifName]);
  },
  detachEndpoint: () => Promise.resolve(), // its tap goes, and the route with it
  frontCounts: () => Promise.resolve([]),
};

const lines = createInterface({ input: process.stdin });
await new Promise((resolve) => lines.once('line', resolve));
lines.once('close', () => process.exit(1)); // the test is gone
await agentStart(JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')), { transit: () => routes });
process.stdout.write('started\n');
