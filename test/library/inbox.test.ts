import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Inbox } from '../../src/library/inbox.ts';
import type { LaneMessage, PortListener } from '../../src/lanes/port.ts';

const stop = new AbortController().signal;

function message(n: number): LaneMessage {
  return { body: Buffer.from([n]), routingKey: '', type: 'insert', messageId: `${n}`, events: 1, wallSeconds: 0 };
}

function listener(confirmed: number[]): PortListener {
  return {
    partition: 0,
    confirmed: (tag) => confirmed.push(tag),
    refused: () => {},
    returned: () => {},
    writable: () => {},
    closed: () => {},
  };
}

test('a message counts as confirmed when the loop asks for the next one', async () => {
  const inbox = new Inbox();
  const confirmed: number[] = [];
  const port = await inbox.port.open(listener(confirmed), stop);
  for (let n = 1; n <= 3; n++) port.publish(message(n));
  inbox.end({});
  const seen: number[] = [];
  for await (const { body } of inbox.messages()) {
    assert.equal(confirmed.length, seen.length);
    seen.push(body[0]!);
  }
  assert.deepEqual(seen, [1, 2, 3]);
  assert.deepEqual(confirmed, [1, 2, 3]);
});

test('opened again, it counts from 1 and gives what is sent again, nothing twice', async () => {
  const inbox = new Inbox();
  const before: number[] = [];
  const after: number[] = [];
  const first = await inbox.port.open(listener(before), stop);
  for (let n = 1; n <= 4; n++) first.publish(message(n));
  const messages = inbox.messages();
  await messages.next();
  await messages.next();
  const second = await inbox.port.open(listener(after), stop);
  for (let n = 2; n <= 4; n++) second.publish(message(n));
  inbox.end({});
  const seen: number[] = [];
  for await (const { body } of messages) seen.push(body[0]!);
  assert.deepEqual(before, [1]);
  assert.deepEqual(seen, [2, 3, 4]);
  assert.deepEqual(after, [1, 2, 3]);
});
