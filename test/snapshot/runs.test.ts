/** Which snapshots there are, and how far each has come. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Runs, followedBy, isActive, nameInIds } from '../../src/snapshot/runs.ts';

const AT = 1_700_000_000_000;

function runs(): Runs {
  let now = AT;
  return new Runs([], () => (now += 10));
}

test('one that is read again does not pass over those that nobody has begun', () => {
  const all = runs();
  const { run } = all.add({ cause: 'start' });
  all.begin(run, 'db.b');
  all.command({ kind: 'rename', ns: 'db.aside', to: 'db.z' }, () => true);
  all.begin(run, 'db.z');
  assert.equal(all.get(run)?.begun, 'db.b');
  assert.deepEqual(all.get(run)?.again, []);
  all.begin(run, 'db.m');
  assert.equal(all.get(run)?.begun, 'db.m');
});

test('a rename that is told twice is read once', () => {
  const all = runs();
  const { run } = all.add({ cause: 'start' });
  for (let n = 0; n < 2; n++) all.command({ kind: 'rename', ns: 'db.a', to: 'db.z' }, followedBy(['db.*']));
  assert.deepEqual(all.get(run)?.again, ['db.z']);
});

test('what a rename brought has a name of its own in the ids: it is others, with the same `_id`s', () => {
  const all = runs();
  const { run } = all.add({ cause: 'start' });
  const name = (): string => nameInIds(all.get(run)!, 'db.b');
  all.begin(run, 'db.b');
  assert.equal(name(), run);
  const names = new Set([run]);
  for (let n = 0; n < 2; n++) {
    all.command({ kind: 'rename', ns: 'db.aside', to: 'db.b' }, () => true);
    all.begin(run, 'db.b');
    all.advance(run, 'db.b', 'x', 1);
    names.add(name());
  }
  assert.equal(names.size, 3);
});

test('what begins anew behind a gap is each another, with what it was asked for', () => {
  const all = runs();
  const first = all.add({ cause: 'asked', namespaces: ['db.x'] });
  const second = all.add({ cause: 'asked', namespaces: ['db.y'], filter: '{}' });
  all.setState(second.run, 'paused');
  all.restart({ byOne: false });
  const active = all.records.filter(isActive);
  assert.deepEqual(
    active.map(({ namespaces, filter, state }) => ({ namespaces, filter, state })),
    [
      { namespaces: ['db.x'], filter: undefined, state: 'running' },
      { namespaces: ['db.y'], filter: '{}', state: 'paused' },
    ],
  );
  assert.equal(new Set(all.records.map(({ run }) => run)).size, 4);
  assert.equal(all.get(first.run)?.state, 'cancelled');
  all.restart({ byOne: true });
  assert.equal(all.records.filter(isActive).length, 0);
});

test('the one that has just ended is always among those that are kept', () => {
  const all = runs();
  const oldest = all.add({ cause: 'asked' });
  all.setState(oldest.run, 'paused');
  for (let n = 0; n < 8; n++) all.end(all.add({ cause: 'asked' }).run);
  for (let n = 0; n < 8; n++) all.setState(all.add({ cause: 'asked' }).run, 'cancelled');
  assert.equal(all.records.length, 6);
  all.end(oldest.run);
  assert.equal(all.get(oldest.run)?.state, 'done');
  assert.equal(all.records.length, 5);
});
