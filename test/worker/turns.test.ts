import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Turns } from '../../src/worker/turns.ts';

test('whoever has little to do waits for one piece of each of the others, and everyone for his own', async () => {
  const turns = new Turns<string>();
  const order: string[] = [];
  const wait = (owner: string, piece: number): void => {
    void turns.wait(owner).then(() => order.push(`${owner}${piece}`));
  };
  for (let piece = 1; piece <= 3; piece++) wait('a', piece);
  wait('b', 1);
  wait('c', 1);
  assert.equal(turns.size, 5);
  turns.next();
  wait('b', 2);
  for (let n = 0; n < 5; n++) turns.next();
  turns.next();
  await Promise.resolve();
  assert.deepEqual(order, ['a1', 'b1', 'c1', 'a2', 'b2', 'a3']);
  assert.equal(turns.size, 0);
});
