/** Some sites of `bench reconnect`, in a process of their own: each with its certificate and a real uplink. Says over IPC when one connects. */
import { join } from 'node:path';
import { silentLogger } from '../../base/log.ts';
import { loadIdentity } from '../../certs/enrol.ts';
import { ControlStream } from '../../gateway/control.ts';
import { Uplink } from '../../gateway/edge/uplink.ts';

const [dir = '', gateway = '', ...sites] = process.argv.slice(2);
const signal = new AbortController().signal;
for (const site of sites) {
  const { keyPem, chainPem, trustPem } = loadIdentity(join(dir, site), 'gateway');
  const uplink = new Uplink({
    log: silentLogger,
    gateways: [gateway],
    tls: () => ({ key: keyPem, cert: chainPem, ca: trustPem }),
    onOpen: (stream) => void new ControlStream(stream, () => process.send?.({ site, did: 'goal' })),
    onConnected: () => process.send?.({ site, did: 'connected' }),
    onLost: () => undefined, // its next connection is what counts
  });
  await uplink.start(signal);
}
process.on('disconnect', () => process.exit(0));
