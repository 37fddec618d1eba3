/** The site's end of the way to agents: dials the agent on the LAN for the region, and joins the two. The agent decides who it answers. */
import { connect } from 'node:net';
import { networkInterfaces } from 'node:os';
import { joinSocket } from '../mux/pipe.ts';
import type { MuxStream } from '../mux/stream.ts';
import { AGENT_REACHED, decideAgent } from '../presence/agent-name.ts';
import type { Refusals } from '../presence/refusals.ts';

export interface AgentsOptions {
  readonly site: string;
  readonly lanAddress: string;
  readonly agents: { readonly port: number; readonly network: string | null } | null;
  readonly isRevoked: (serial: string) => boolean;
  readonly refusals: Refusals;
}

const DIAL_MS = 5_000;

/** The network that an address of this machine is in, as its interface has it. */
export function networkOf(address: string): string | null {
  return Object.values(networkInterfaces()).flat().find((i) => i?.address === address)?.cidr ?? null;
}

export class Agents {
  readonly #o: AgentsOptions;

  constructor(options: AgentsOptions) {
    this.#o = options;
  }

  serve(stream: MuxStream): void {
    const { agents, lanAddress, site, isRevoked, refusals } = this.#o;
    const { name, caller, serial } = stream.open;
    const verdict = decideAgent({ name, caller, serial, port: agents?.port ?? null, network: agents?.network ?? networkOf(lanAddress), isRevoked });
    if (!verdict.ok) {
      refusals.record({ site, target: name, caller, code: verdict.code, reason: verdict.reason });
      return stream.reset(verdict.code, verdict.reason);
    }
    const { host, port } = verdict.at;
    const socket = connect({ host, port, noDelay: true, allowHalfOpen: true });
    const failed = (why: string): void => stream.reset('unavailable', `the agent at ${host}:${port} ${why}`);
    socket.setTimeout(DIAL_MS, () => {
      failed(`did not answer within ${DIAL_MS / 1000} s`);
      socket.destroy();
    });
    socket.once('connect', () => {
      socket.setTimeout(0);
      stream.write(Buffer.from([AGENT_REACHED]));
    });
    stream.attach(joinSocket(socket, stream, { onSocketError: (error) => failed(`cannot be reached: ${error.message}`) }));
  }
}
