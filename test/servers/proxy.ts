/**
 * A TCP proxy that stands for the network between two parts, so that it can fail: cut what is open, refuse what is new, or
 * stall both ways without a word, as a half-open link does. Its port stays the same all the while.
 */
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { freePort } from './ports.ts';

export interface Proxy extends AsyncDisposable {
  readonly port: number;
  /** Resets every open connection; new ones pass. */
  cut(): void;
  /** Nothing moves any more in either direction, and nobody is told; new connections are taken and stall too. */
  pause(): void;
  resume(): void;
  /** Cuts, and takes no new connections until `accept`. */
  refuse(): Promise<void>;
  accept(): Promise<void>;
  stop(): Promise<void>;
}

/** `to` is a port of this machine. */
export async function startProxy({ to }: { to: number }): Promise<Proxy> {
  const port = await freePort();
  const open = new Set<Socket>();
  let server: Server | undefined;
  let paused = false;

  const link = (from: Socket, into: Socket): void => {
    open.add(from);
    from.setNoDelay(true);
    from.on('data', (bytes) => {
      if (!into.write(bytes)) from.pause();
    });
    into.on('drain', () => {
      if (!paused) from.resume();
    });
    from.on('end', () => into.end());
    from.on('error', () => into.destroy());
    from.on('close', () => {
      open.delete(from);
      into.destroy();
    });
    if (paused) from.pause();
  };
  const accept = async (): Promise<void> => {
    if (server !== undefined) return;
    const opened = createServer({ allowHalfOpen: true }, (client) => {
      const upstream = connect({ port: to, host: '127.0.0.1', allowHalfOpen: true });
      link(client, upstream);
      link(upstream, client);
    });
    server = opened;
    await new Promise<void>((resolve, reject) => {
      opened.once('error', reject);
      opened.listen(port, '127.0.0.1', resolve);
    });
  };
  const cut = (): void => {
    for (const socket of open) socket.resetAndDestroy();
  };
  const refuse = async (): Promise<void> => {
    const closing = server;
    server = undefined;
    const closed = new Promise<void>((resolve) => {
      if (closing === undefined) resolve();
      else closing.close(() => resolve());
    });
    cut();
    await closed;
  };

  await accept();
  return {
    port,
    cut,
    pause() {
      paused = true;
      for (const socket of open) socket.pause();
    },
    resume() {
      paused = false;
      for (const socket of open) socket.resume();
    },
    refuse,
    accept,
    stop: refuse,
    [Symbol.asyncDispose]: refuse,
  };
}
