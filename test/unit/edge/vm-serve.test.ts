import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { run as exec } from '../../../edge/agent/exec.ts';
import { compileServer } from '../../../edge/images/build.ts';
import { suite } from '../../kit/suite.ts';

const { it, run } = suite('the VM image\'s web server');

const freePort = (): Promise<number> => new Promise((resolve) => {
  const server = createServer().listen(0, () => {
    const { port } = server.address() as AddressInfo;
    server.close(() => resolve(port));
  });
});

function say(port: number, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(text));
    let answer = '';
    socket.on('data', (d: Buffer) => (answer += d.toString())).on('error', reject).on('close', () => resolve(answer));
  });
}

it('answers with the page it was told last, counts, refuses the rest, and does not wait for a slow client', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'px-vm-serve-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const [binary, page, port] = [join(dir, 'serve'), join(dir, 'page.json'), await freePort()];
  writeFileSync(binary, await compileServer(dir), { mode: 0o755 });
  writeFileSync(page, '{"site":"a"}');
  const server = spawn(binary, [String(port), page], { stdio: 'inherit' });
  t.after(() => server.kill());
  const up = Date.now() + 3000;
  while ((await say(port, 'GET / HTTP/1.0\r\n\r\n').catch(() => '')) === '' && Date.now() < up) await new Promise((resolve) => setTimeout(resolve, 10));

  assert.match(await say(port, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'), /^HTTP\/1\.0 200 OK\r\n[^]*Served: 2\r\n[^]*\r\n\r\n\{"site":"a"\}$/);
  assert.match(await say(port, 'HEAD / HTTP/1.0\r\n\r\n'), /Content-Length: 12\r\n[^]*\r\n\r\n$/);
  assert.match(await say(port, 'GET /other HTTP/1.0\r\n\r\n'), /^HTTP\/1\.0 404 /);
  assert.match(await say(port, 'POST / HTTP/1.0\r\n\r\n'), /^HTTP\/1\.0 405 /);
  assert.is(await say(port, `GET / HTTP/1.0\r\nX: ${'x'.repeat(4000)}`).catch(() => ''), '', 'a head without an end is hung up on');

  const slow = connect(port, '127.0.0.1', () => slow.write('GET / HT'));
  slow.on('error', () => undefined);
  t.after(() => slow.destroy());
  await new Promise((resolve) => setTimeout(resolve, 50));
  writeFileSync(page, '{"site":"b"}');
  server.kill('SIGHUP');
  assert.match(await say(port, 'GET / HTTP/1.0\r\n\r\n'), /Served: 4\r\n[^]*\{"site":"b"\}$/);
  let late = '';
  slow.on('data', (d: Buffer) => (late += d.toString()));
  slow.write('TP/1.0\r\n\r\n');
  await new Promise((resolve) => slow.once('close', resolve));
  assert.match(late, /Served: 5\r\n/);

  await exec(binary, ['get', String(port), '/']);
  const missing = await exec(binary, ['get', String(port), '/other']).catch((e: Error) => e);
  assert.match((missing as Error).message, /exit code 1/);
});

run();
