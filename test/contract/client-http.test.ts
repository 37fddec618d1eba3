import { Resources } from '../../api/resources.ts';
import { testApiServer } from '../kit/api-server.ts';
import { clientContract } from './client.ts';

clientContract('over https', async (t) => {
  const { client } = await testApiServer(t);
  const admin = client('admin', ['system:masters']);
  await admin.create(Resources.Tenant, { apiVersion: 'v1', kind: 'Tenant', metadata: { name: 'acme' } });
  return admin;
});
