/**
 * Free ports below the range from which the system takes those of outgoing connections. In that range a client that keeps
 * reconnecting to a stopped server's port can in the end connect to itself, and the server cannot come back.
 */
import { createServer } from 'node:net';

const FIRST = 15_000;
const COUNT = 15_000;

export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const port = FIRST + Math.floor(Math.random() * COUNT);
    if (await isFree(port)) return port;
  }
  throw new Error(`no free port found between ${FIRST} and ${FIRST + COUNT}`);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)));
  });
}
