/** What was touched of the documents of a piece, behind the position at which it was read. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Touches } from '../../src/snapshot/touches.ts';
import type { TouchingCommand } from '../../src/worker/protocol.ts';

const at = (increment: number) => ({ seconds: 1, increment });
const touched = (documents: number[], commands: TouchingCommand[] = []) => ({
  documents: Uint32Array.from(documents),
  commands,
});

test('what was touched before it is known which documents matter counts, and so does what is behind', () => {
  const touches = new Touches();
  touches.note(touched([1]), at(1));
  using since = touches.from(at(2), 'db.c');
  touches.note(touched([2]), at(2));
  touches.note(touched([3, 9]), at(3));
  since.only(() => new Set([1, 2, 3, 4]));
  touches.note(touched([4, 8]), at(4));
  assert.deepEqual(since.touched, new Set([3, 4]));
});

test('where it is not clear what a collection holds all count', () => {
  const touches = new Touches();
  using one = touches.from(at(1), 'db.c');
  using other = touches.from(at(1), 'db.d');
  touches.note(touched([], [{ kind: 'unclear', ns: 'db.d' }]), at(2));
  assert.deepEqual([one.touched, other.touched], [new Set(), 'all']);
  touches.note(touched([], [{ kind: 'unclear', ns: '' }]), at(3));
  assert.equal(one.touched, 'all');
});

test('nothing is told to those who are through', () => {
  const touches = new Touches();
  const since = touches.from(at(1), 'db.c');
  since.only(() => new Set([1]));
  since[Symbol.dispose]();
  touches.note(touched([1]), at(2));
  assert.deepEqual(since.touched, new Set());
});
