/**
 * A TCP proxy that stands for the network between two parts, so that it can fail: cut what is open, refuse what is new, stall
 * both ways or one without a word, as a half-open link does, be slow, or reset a connection after so many bytes. Its port
 * stays the same all the while.
 */
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { OneWay } from './one-way.ts';
import type { Slowness } from './one-way.ts';
import { freePort } from './ports.ts';

export type Direction = 'toServer' | 'toClient';

export interface Proxy extends AsyncDisposable {
  readonly port: number;
  /** Resets every open connection; new ones pass. */
  cut(): void;
  /** Nothing moves any more in either direction (or in one), and nobody is told; new connections are taken and stall too. */
  pause(direction?: Direction): void;
  resume(): void;
  /** From now on; undefined: as fast as it goes. */
  slow(slowness: Slowness | undefined): void;
  /** The next connections are reset, each once it has passed on so many bytes in this direction; takes the place of what was asked for before. */
  resetNext(resets: readonly Reset[]): void;
  /** How many were. */
  readonly resets: number;
  /** Cuts, and takes no new connections until `accept`. */
  refuse(): Promise<void>;
  accept(): Promise<void>;
  stop(): Promise<void>;
}

export interface Reset {
  readonly direction: Direction;
  readonly bytes: number;
}

export interface ProxyOptions {
  /** A port of this machine. */
  readonly to: number;
  /** For each connection: what becomes of the bytes that the server sends. */
  readonly toClient?: () => (bytes: Buffer) => Buffer;
}

export async function startProxy({ to, toClient }: ProxyOptions): Promise<Proxy> {
  const port = await freePort();
  const open = new Set<Socket>();
  const ways = new Map<Direction, Set<OneWay>>([
    ['toServer', new Set()],
    ['toClient', new Set()],
  ]);
  const paused = new Set<Direction>();
  /** Whose other end has gone, and who has not heard of it. */
  const left = new Set<Socket>();
  let slowness: Slowness | undefined;
  let waiting: Reset[] = [];
  const armed = new Set<Reset>();
  let resets = 0;
  let server: Server | undefined;

  const join = (client: Socket, upstream: Socket): void => {
    const both = [client, upstream];
    const reset = waiting.shift();
    if (reset) armed.add(reset);
    const limitOf = (direction: Direction): number =>
      reset?.direction === direction && armed.has(reset) ? reset.bytes : Infinity;
    const onLimit = (): void => {
      resets += 1;
      for (const socket of both) resetOne(socket);
    };
    const way = (direction: Direction, [from, into]: readonly [Socket, Socket]): void => {
      const one = new OneWay(from, into, {
        slowness: () => slowness,
        filter: direction === 'toClient' ? toClient?.() : undefined,
        limit: () => limitOf(direction),
        onLimit,
      });
      if (paused.has(direction)) one.pause();
      ways.get(direction)!.add(one);
      open.add(from);
      from.on('close', () => {
        ways.get(direction)!.delete(one);
        open.delete(from);
        one.end();
        // On a silent link not even that gets through.
        if (paused.has(direction)) left.add(into);
        else into.destroy();
      });
    };
    way('toServer', [client, upstream]);
    way('toClient', [upstream, client]);
    if (reset?.bytes === 0) onLimit();
  };
  const accept = async (): Promise<void> => {
    if (server !== undefined) return;
    const opened = createServer({ allowHalfOpen: true }, (client) => {
      join(client, connect({ port: to, host: '127.0.0.1', allowHalfOpen: true }));
    });
    server = opened;
    await new Promise<void>((resolve, reject) => {
      opened.once('error', reject);
      opened.listen(port, '127.0.0.1', resolve);
    });
  };
  const cut = (): void => {
    for (const socket of open) resetOne(socket);
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
    pause(direction) {
      for (const one of direction === undefined ? ways.keys() : [direction]) {
        paused.add(one);
        for (const way of ways.get(one)!) way.pause();
      }
    },
    resume() {
      paused.clear();
      for (const socket of left) socket.destroy();
      left.clear();
      for (const all of ways.values()) for (const way of all) way.resume();
    },
    slow(how) {
      slowness = how;
      for (const all of ways.values()) for (const way of all) way.hurry();
    },
    resetNext(next) {
      armed.clear();
      waiting = [...next];
    },
    get resets() {
      return resets;
    },
    refuse,
    accept,
    stop: refuse,
    [Symbol.asyncDispose]: refuse,
  };
}

/** One that is being shut down cannot be reset as well: libuv refuses, Node keeps the handle, and spins at its exit (Node 20.20). */
function resetOne(socket: Socket): void {
  if (socket.writableEnded) socket.destroy();
  else socket.resetAndDestroy();
}
