import { request as ask } from 'node:http';
import { connect } from 'node:net';
import * as assert from 'uvu/assert';
import { DEFAULT_LIMITS } from '../../api/decode.ts';
import { masterIdentity } from '../../cloud/apiserver/identity.ts';
import { testApiServer } from '../kit/api-server.ts';
import { type CaseContext, suite } from '../kit/suite.ts';

const { it, run } = suite('request bodies', { timeoutMs: 40_000 });

const PATH = '/api/v1/namespaces/default/configmaps';

const configMap = (name: string, value: string): Buffer => Buffer.from(JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data: { value } }));

interface Answer {
  readonly code: number;
  readonly object: { readonly data?: { readonly value?: string }; readonly metadata?: { readonly name?: string }; readonly reason?: string };
}

async function server(t: CaseContext): Promise<{ readonly port: number; readonly post: (pieces: readonly Buffer[], headers: Record<string, string>) => Promise<Answer> }> {
  const { server: api } = await testApiServer(t, { tls: null, tokens: [{ token: 'operator', identity: masterIdentity }] });
  const post = (pieces: readonly Buffer[], headers: Record<string, string>): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const request = ask({ port: api.port, path: PATH, method: 'POST', headers: { authorization: 'Bearer operator', 'content-type': 'application/json', ...headers } }, (response) => {
        const got: Buffer[] = [];
        response.on('data', (d: Buffer) => got.push(d)).on('end', () => resolve({ code: response.statusCode ?? 0, object: JSON.parse(Buffer.concat(got).toString()) as Answer['object'] }));
      });
      request.on('error', reject);
      const send = (i: number): void => {
        const piece = pieces[i];
        if (piece === undefined) request.end();
        else request.write(piece, () => setTimeout(send, 5, i + 1));
      };
      send(0);
    });
  return { port: api.port, post };
}

it('takes a body in one piece with its headers, after them, in many pieces and in chunks', async (t) => {
  const { port, post } = await server(t);
  for (const [name, value] of [['whole', 'x'], ['large', 'ü'.repeat(400_000)]] as const) {
    const body = configMap(name, value);
    const third = Math.ceil(body.length / 3);
    const thirds = [0, 1, 2].map((i) => body.subarray(i * third, (i + 1) * third));
    const made = await post(thirds, { 'content-length': String(body.length) });
    assert.equal([made.code, made.object.data?.value === value], [201, true]);
    assert.equal([(await post([body], {})).code, (await post(thirds, {})).object.reason], [409, 'AlreadyExists']);
  }
  // Three requests in one packet are answered in their order.
  const body = (i: number): Buffer => configMap(`row-${i}`, String(i));
  const packet = Buffer.concat([0, 1, 2].flatMap((i) => [Buffer.from(`POST ${PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer operator\r\ncontent-type: application/json\r\ncontent-length: ${body(i).length}\r\n${i === 2 ? 'connection: close\r\n' : ''}\r\n`), body(i)]));
  const text = await new Promise<string>((resolve, reject) => {
    let got = '';
    connect(port, '127.0.0.1').on('data', (d) => (got += d.toString())).on('close', () => resolve(got)).on('error', reject).write(packet);
  });
  assert.equal([...text.matchAll(/HTTP\/1\.1 (\d+)|"name":"(row-\d)"/g)].map((m) => m[1] ?? m[2]), ['201', 'row-0', '201', 'row-1', '201', 'row-2']);
});

it('refuses more than the limit, announced or not, and lives on when a caller leaves midway', async (t) => {
  const { port, post } = await server(t);
  const long = Buffer.alloc(DEFAULT_LIMITS.bytes + 1, ' ');
  const tooMuch = (sent: Promise<Answer>): Promise<number | string> => sent.then((a) => a.code, (e: NodeJS.ErrnoException) => e.code ?? '');
  // The server closes what it will not read; the rest of the body may meet that before the answer is read.
  assert.ok([413, 'EPIPE', 'ECONNRESET'].includes(await tooMuch(post([long], { 'content-length': String(long.length) }))));
  assert.ok([413, 'EPIPE', 'ECONNRESET'].includes(await tooMuch(post([long.subarray(0, 1000), long], {}))));
  await new Promise<void>((resolve, reject) => {
    const socket = connect(port, '127.0.0.1').on('error', reject).on('close', () => resolve());
    socket.write(`POST ${PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer operator\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{"metadata"`, () => socket.destroy());
  });
  assert.is((await post([configMap('after', '1')], {})).code, 201);
});

run();
