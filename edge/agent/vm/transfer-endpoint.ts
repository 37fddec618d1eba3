/**
 * The agent's endpoint as other agents see it, by HTTP Upgrade, for a VM that moves and nothing else:
 *   GET /transfer/<pod uid>       the pod's state, if the pod is to be sent to the caller's site (transfer-wire.ts has the frames)
 *   GET /relay/<site>/<pod uid>   bytes to and from the endpoint of the node that has the pod (way.ts says who may)
 */
import { STATUS_CODES, type IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { MeshError } from '../../../api/errors.ts';
import type { Logger } from '../../../base/log.ts';
import { identityOf } from '../../../certs/names.ts';
import type { VmSender } from './send.ts';
import { statusOf, UPGRADE, type TransferWay } from './way.ts';

export type UpgradeHandler = (request: IncomingMessage, socket: Duplex, head: Buffer) => void;

export function transferEndpoint(departures: VmSender, way: TransferWay, log: Logger): UpgradeHandler {
  const serve = async (request: IncomingMessage, socket: Duplex): Promise<void> => {
    const caller = identityOf((request.socket as TLSSocket).getPeerCertificate());
    if (request.headers.upgrade !== UPGRADE) throw new MeshError('invalid', `Upgrade: expected ${UPGRADE}`);
    const [what, a = '', b = ''] = (request.url ?? '/').slice(1).split('/').map(decodeURIComponent);
    if (what === 'transfer') {
      if (caller.kind !== 'node') throw new MeshError('forbidden', `${caller.uri} is no node: only nodes take over VMs`);
      accept(socket);
      return departures.serve(a, caller, socket);
    }
    if (what !== 'relay') throw new MeshError('invalid', `${request.url ?? '/'} is not served here`);
    const onward = await way.lead(caller, { site: a, uid: b });
    accept(socket);
    log.info('leading a VM on', { from: caller.uri, site: a, uid: b });
    splice(socket, onward);
  };
  return (request, socket, head) => {
    socket.on('error', () => undefined); // whoever reads or writes it sees it end
    if (head.length > 0) socket.unshift(head);
    serve(request, socket).catch((error: unknown) => {
      const status = statusOf(error);
      if (status === 500) log.error('a transfer failed', { url: request.url, err: error });
      const body = JSON.stringify({ message: (error as Error).message });
      socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`);
    });
  };
}

/** Either end may hang up whenever it likes; then the other leg goes too. */
function splice(a: Duplex, b: Duplex): void {
  for (const [from, to] of [[a, b], [b, a]] as const) from.on('error', () => undefined).on('close', () => to.destroy()).pipe(to);
}

function accept(socket: Duplex): void {
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${UPGRADE}\r\n\r\n`);
}
