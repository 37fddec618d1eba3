/** The VM image's one process on this machine's own kernel, with standard input as its channel and a link of its own. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { run as exec } from '../../edge/agent/exec.ts';
import { compileGuest } from '../../edge/images/build.ts';
import { inOwnNetns } from '../kit/own-netns.ts';
import { suite } from '../kit/suite.ts';

const refused = await inOwnNetns(import.meta.filename);
const { it, skip, run } = suite('guest', { timeoutMs: 20_000 });

function ask(text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(80, '127.0.0.1', () => socket.write(text));
    let answer = '';
    socket.on('data', (d: Buffer) => (answer += d.toString())).on('error', reject).on('close', () => resolve(answer));
  });
}

if (refused !== null) skip('guest.c', refused);
else {
  it('takes its address, again and again, serves who and where it is, answers probes, and waits for no slow client', async (t) => {
    const dir = mkdtempSync(join(tmpdir(), 'px-vm-guest-'));
    t.after(() => rmSync(dir, { recursive: true, force: true }));
    const binary = join(dir, 'guest');
    writeFileSync(binary, await compileGuest(dir), { mode: 0o755 });
    await exec('sh', ['-c', 'ip link set lo up; ip link add eth0 type veth peer name peer0; ip link set peer0 up']);
    const guest = spawn(binary, ['80', '-'], { stdio: ['pipe', 'pipe', 'inherit'] });
    t.after(() => guest.kill());
    let said = '';
    guest.stdout.on('data', (d: Buffer) => (said += d.toString()));
    const heard = async (line: RegExp): Promise<void> => {
      const end = Date.now() + 5000;
      while (!line.test(said)) {
        if (Date.now() > end) throw new Error(`not heard: ${line.source}, but ${said}`);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      said = '';
    };
    const tell = (line: string): void => void guest.stdin.write(`${line}\n`);

    await heard(/^hello\n$/);
    tell('config 10.64.3.9 24 10.64.3.1 02:64:00:00:03:09 1300 web-1 edge-a 1700000000');
    await heard(/^configured\n$/);
    const shown = async (): Promise<string> => `${await exec('ip', ['-o', 'link', 'show', 'eth0'])}${await exec('ip', ['-4', '-o', 'addr', 'show', 'eth0'])}${await exec('ip', ['route'])}`;
    assert.match(await shown(), /mtu 1300 [^]*02:64:00:00:03:09[^]*10\.64\.3\.9\/24[^]*default via 10\.64\.3\.1 dev eth0/);
    tell('config 10.64.7.2 25 10.64.7.1 02:64:00:00:07:02 1400 web-1 edge-b 1700000001');
    await heard(/^configured\n$/);
    const moved = await shown();
    assert.match(moved, /mtu 1400 [^]*02:64:00:00:07:02[^]*10\.64\.7\.2\/25[^]*default via 10\.64\.7\.1 /);
    assert.not.match(moved, /10\.64\.3\./, 'nothing is left of the place before');
    tell('config nonsense 25 10.64.7.1 02:64:00:00:07:02 1400 web-1 edge-b 1700000001');
    tell('no such word');

    assert.match(await ask('GET / HTTP/1.1\r\nHost: x\r\n\r\n'), /^HTTP\/1\.0 200 OK\r\n[^]*Served: 1\r\n[^]*\r\n\r\n\{"pod":"web-1","site":"edge-b","kind":"vm"\}\n$/);
    assert.match(await ask('HEAD / HTTP/1.0\r\n\r\n'), /Content-Length: 44\r\n[^]*\r\n\r\n$/);
    assert.match(await ask('GET /other HTTP/1.0\r\n\r\n'), /^HTTP\/1\.0 404 /);
    assert.match(await ask('POST / HTTP/1.0\r\n\r\n'), /^HTTP\/1\.0 405 /);
    assert.is(await ask(`GET / HTTP/1.0\r\nX: ${'x'.repeat(4000)}`).catch(() => ''), '', 'a head without an end is hung up on');
    const slow = connect(80, '127.0.0.1', () => slow.write('GET / HT'));
    t.after(() => slow.destroy());
    let late = '';
    slow.on('data', (d: Buffer) => (late += d.toString())).on('error', () => undefined);
    assert.match(await ask('GET / HTTP/1.0\r\n\r\n'), /Served: 3\r\n/);
    slow.write('TP/1.0\r\n\r\n');
    await new Promise((resolve) => slow.once('close', resolve));
    assert.match(late, /Served: 4\r\n/);

    tell('probe 7 http 80 /');
    await heard(/^result 7 ok\n$/);
    tell('probe 8 http 80 /other');
    await heard(/^result 8 failed\n$/);
    tell('probe 9 tcp 80 /');
    await heard(/^result 9 ok\n$/);
    tell('probe 10 tcp 81 /');
    await heard(/^result 10 failed\n$/);
    const gone = new Promise((resolve) => guest.once('exit', resolve));
    tell('poweroff');
    assert.is(await gone, 0);
  });
}

run();
