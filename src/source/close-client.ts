/**
 * Closes a client that may just be connecting. The driver (7.9) reads certificates before it has anything that could be closed,
 * and goes on to connect when they are read, whatever was closed meanwhile: the process would never end.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { MongoClient } from 'mongodb';

const AGAIN_MS = 20;

export async function closeClient(client: MongoClient): Promise<void> {
  const { connectionLock: connecting } = client as unknown as { readonly connectionLock?: Promise<unknown> };
  await client.close();
  if (!connecting) return;
  const over = connecting.then(
    () => true,
    () => true,
  );
  while (!(await Promise.race([over, sleep(AGAIN_MS, false)]))) await client.close();
  await client.close();
}
