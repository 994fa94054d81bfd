import assert from 'node:assert/strict';
import test from 'node:test';
import { deserialize, serialize } from 'bson';
import { markedBody } from '../../src/replay/mark.ts';

test('where there are no headers, every event of a body says itself that it was replayed', () => {
  const lines = Buffer.from('{"_id":"a:1.1.0","x":"}"}\n{"_id":"a:1.2.0","y":{}}\n');
  assert.equal(
    markedBody(lines, 'json').toString(),
    '{"_id":"a:1.1.0","x":"}","replayed":true}\n{"_id":"a:1.2.0","y":{},"replayed":true}\n',
  );
  assert.equal(markedBody(Buffer.from('{"_id":1}'), 'json-canonical').toString(), '{"_id":1,"replayed":true}');

  const documents = [{ _id: 'a:1.1.0' }, { _id: 'a:1.2.0', n: 1 }];
  const marked = markedBody(Buffer.concat(documents.map((one) => serialize(one))), 'bson');
  const size = marked.readInt32LE(0);
  assert.deepEqual(deserialize(marked.subarray(0, size)), { ...documents[0], replayed: true });
  assert.deepEqual(deserialize(marked.subarray(size)), { ...documents[1], replayed: true });
});
