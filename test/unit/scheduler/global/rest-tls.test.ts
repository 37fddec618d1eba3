import assert from 'node:assert/strict';
import { connect, type TLSSocket } from 'node:tls';
import { MeshError } from '../../../../api/errors.ts';
import type { RestApi } from '../../../../scheduler/global/rest-api.ts';
import { Rest } from '../../../../scheduler/global/rest.ts';
import { testAuthority } from '../../../kit/pki.ts';
import { suite } from '../../../kit/suite.ts';

const { it, run } = suite('REST listener');

it('shows a new certificate to connections from now on', async (t) => {
  const authority = testAuthority();
  const tls = (): { key: string; cert: string; ca: string } => ({ ...authority.issue({ cn: 'api' }), ca: authority.ca });
  const api = { answer: async () => ({ status: 200, body: '{}' }) } as unknown as RestApi;
  const rest = new Rest({ api, authenticate: () => { throw new MeshError('unauthenticated', 'nobody'); } }, { host: '127.0.0.1', port: 0, tls: tls() });
  await rest.start();
  t.after(() => rest.stop());
  const serial = (): Promise<string> =>
    new Promise((resolve, reject) => {
      const socket: TLSSocket = connect({ host: '127.0.0.1', port: rest.port, ca: authority.ca }, () => {
        resolve(socket.getPeerCertificate().serialNumber);
        socket.destroy();
      });
      socket.on('error', reject);
    });
  const before = await serial();
  rest.setTls(tls());
  assert.notEqual(await serial(), before);
});

run();
