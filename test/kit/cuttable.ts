/**
 * A TCP way that can be cut as a network is: nothing passes, nobody is told. What was open before the cut stays dead after it, as behind a firewall that
 * forgot it; what was dialled meanwhile comes through when it is over, as a SYN that is sent again does.
 */
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import type { CaseContext } from './suite.ts';

export interface CuttableWay {
  readonly port: number;
  /** New connections are taken and hear nothing; open ones stall. */
  cut(): void;
  heal(): void;
}

export async function cuttableWay(t: Pick<CaseContext, 'after'>, to: { readonly host: string; readonly port: number }): Promise<CuttableWay> {
  const open = new Set<Socket>();
  let isCut = false;
  let waiting: Socket[] = [];
  const keep = (s: Socket): Socket => {
    open.add(s);
    return s.on('error', () => s.destroy()).on('close', () => open.delete(s)); // the other end went away
  };
  const join = (near: Socket): void => {
    if (near.destroyed) return;
    const far = keep(connect(to));
    near.on('data', (b) => void (far.destroyed || far.write(b)));
    far.on('data', (b) => void (near.destroyed || near.write(b)));
    // an end seen through a cut would be news
    near.on('close', () => void (near.isPaused() || far.destroy()));
    far.on('close', () => void (far.isPaused() || near.destroy()));
    near.resume();
  };
  const server = createServer({ pauseOnConnect: true }, (near) => {
    keep(near);
    if (isCut) waiting.push(near);
    else join(near);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(async () => {
    for (const s of open) s.destroy();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  });
  return {
    port: (server.address() as AddressInfo).port,
    cut() {
      isCut = true;
      for (const s of open) s.pause();
    },
    heal() {
      isCut = false;
      for (const near of waiting) join(near);
      waiting = [];
    },
  };
}
