/** A node's data plane without the rest of the agent and without a region, as a process in the node's network namespace; says `up` when it is. */
import { systemClock } from '../../base/clock.ts';
import { silentLogger } from '../../base/log.ts';
import { DataPlane } from '../../edge/data-plane.ts';
import { decodeAgentConfig } from '../../edge/config.ts';
import type { EndpointAttachment } from '../../dataplane/transit/transit.ts';
import { offlineClient } from './offline-client.ts';

const [config = '{}', endpoint = '{}'] = process.argv.slice(2);
const plane = new DataPlane(decodeAgentConfig(JSON.parse(config), 'agent.json'), offlineClient, silentLogger);
await plane.start(new AbortController().signal);
await plane.attachEndpoint(JSON.parse(endpoint) as EndpointAttachment);
console.log('up');
await systemClock.sleep(600_000);
