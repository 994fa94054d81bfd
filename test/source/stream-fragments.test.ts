import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deserialize, serialize } from 'bson';
import type { Document } from 'bson';
import type { StreamReply } from '../../src/source/reply.ts';
import { Fragments } from '../../src/source/stream-fragments.ts';

const part = (data: string, fragment: number, fields: Document): Document => ({
  _id: { _data: data },
  splitEvent: { fragment, of: 2 },
  ...fields,
});
const reply = (token: string, ...documents: Document[]): StreamReply => ({
  cursorId: 1n,
  batch: serialize(Object.fromEntries(documents.entries())),
  entries: documents.length,
  token: serialize({ _data: token }),
});
const tokenOf = ({ token }: { readonly token: Uint8Array | undefined }): unknown =>
  token && deserialize(token)['_data'];

test('while an event is not whole yet, the position is behind the last fragment of the one before', () => {
  const fragments = new Fragments();
  const begun = fragments.join(reply('A0', part('A0', 1, { operationType: 'update' })));
  assert.deepEqual([begun.entries, begun.token], [0, undefined]);
  const both = fragments.join(reply('B0', part('A1', 2, { fullDocument: {} }), part('B0', 1, {})));
  assert.deepEqual([both.entries, tokenOf(both), both.split], [1, 'A1', true]);
});

test('a fragment’s token is told from others, also where a reply without events repeats it', () => {
  const fragments = new Fragments();
  assert.equal(fragments.join(reply('0', { _id: { _data: '0' }, operationType: 'insert' })).split, false);
  const whole = fragments.join(reply('A1', part('A0', 1, {}), part('A1', 2, {})));
  assert.deepEqual([whole.entries, whole.split], [1, true]);
  assert.equal(fragments.join(reply('A1')).split, true);
  assert.equal(fragments.join(reply('B')).split, false);
  const mixed = fragments.join(reply('D0', { _id: { _data: 'C' }, operationType: 'insert' }, part('D0', 1, {})));
  assert.deepEqual([mixed.entries, tokenOf(mixed), mixed.split], [1, 'C', false]);
});
