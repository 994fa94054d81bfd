import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Apart } from '../../src/feed/apart.ts';
import type { Due } from '../../src/feed/apart.ts';
import type { Feed } from '../../src/feed/feed.ts';

interface Looks {
  heldBy?: readonly string[];
  state?: string;
  read?: number;
  delivered?: number;
  held?: boolean;
}

function feed(names: readonly string[], { heldBy = [], state = 'reading', read = 100, delivered = 100, held }: Looks) {
  const at = (seconds: number) => ({ ts: { seconds, increment: 1 }, t: 1 });
  return {
    started: true,
    lost: undefined,
    source: { state },
    members: names.map((name, number) => ({ number, route: { config: { name } } })),
    heldBy,
    position: at(read),
    resume: () => ({ kind: 'after', ...at(delivered) }),
    lanesOf: () => [{ hold: held ? { reason: 'nacked' } : undefined }],
  } as unknown as Feed;
}

const held = (...by: string[]): Feed => feed(['a', 'b', 'c'], { state: 'held', heldBy: by });
const apart = (afterMs = 30_000, inSteps = false): Apart => new Apart({ afterMs, inSteps });

/** Looks four times a second, at what `look` gives, until something is due. */
function after(one: Apart, look: (n: number) => readonly Feed[], seconds: number): [number, Due] | undefined {
  for (let n = 0; n <= seconds * 4; n++) {
    const [shared, ...alone] = look(n);
    const due = one.due(
      shared!,
      alone.map((it) => ({ feed: it, steadyMs: 5_000 })),
      n * 250,
    );
    if (due) return [n / 4, due];
  }
  return undefined;
}

test('one that holds the others for long enough goes on by itself', () => {
  assert.deepEqual(
    after(apart(), () => [held('b')], 60),
    [30, { leave: [1] }],
  );
});

test('one that lets go for moments is slow all the same; one that holds for moments is not', () => {
  const mostly = after(apart(), (n) => [n % 20 === 0 ? held() : held('b')], 60);
  assert.deepEqual(mostly?.[1], { leave: [1] });
  const seldom = after(apart(), (n) => [n % 2 === 0 ? held() : held('b')], 600);
  assert.equal(seldom, undefined);
});

test('where all are as slow, or it is never to be, nobody goes', () => {
  assert.equal(
    after(apart(), () => [held('a', 'b', 'c')], 120),
    undefined,
  );
  assert.equal(
    after(new Apart({ afterMs: undefined, inSteps: false }), () => [held('b')], 120),
    undefined,
  );
});

test('a source that is away has no time counted', () => {
  const away = feed(['a', 'b'], { state: 'reconnecting', heldBy: ['b'] });
  assert.equal(
    after(apart(), () => [away], 120),
    undefined,
  );
});

test('one that has caught up joins the others, once that has lasted', () => {
  const shared = feed(['a', 'c'], {});
  const alone = feed(['b'], {});
  const [seconds, due] = after(apart(), () => [shared, alone], 60)!;
  assert.equal(seconds, 5);
  assert.ok('join' in due && due.join === alone);
});

for (const [what, looks] of Object.entries({
  'has not read as far': { read: 90 },
  'has read, and not delivered': { delivered: 90 },
  'is held': { held: true },
  'spends its own budget': { state: 'held' },
})) {
  test(`one that ${what} does not`, () => {
    const [shared, alone] = [feed(['a', 'c'], {}), feed(['b'], looks)];
    assert.equal(
      after(apart(), () => [shared, alone], 60),
      undefined,
    );
  });
}

test('nobody joins others that are held themselves, or behind', () => {
  for (const looks of [{ state: 'held' }, { held: true }, { read: 50 }]) {
    const [shared, alone] = [feed(['a', 'c'], looks), feed(['b'], {})];
    assert.equal(
      after(apart(), () => [shared, alone], 60),
      undefined,
    );
  }
});

test('one that is there for moments only does not', () => {
  const shared = feed(['a', 'c'], {});
  const alone = feed(['b'], {});
  const [near, far] = [100, 90].map((read) => feed(['b'], { read }).position);
  const look = (n: number): readonly Feed[] => {
    Object.assign(alone, { position: n % 10 === 0 ? far : near });
    return [shared, alone];
  };
  assert.equal(after(apart(), look, 60), undefined);
});

test('where positions move in steps, one may be some seconds off, and joins when it is not behind', () => {
  const shared = feed(['a', 'c'], {});
  const alone = feed(['b'], { read: 95, delivered: 95 });
  const look = (n: number): readonly Feed[] => {
    if (n === 40) Object.assign(alone, { position: shared.position });
    return [shared, alone];
  };
  assert.equal(after(apart(30_000, true), look, 60)?.[0], 10);
});

test('of two that could join, the one that does not come to it does not keep the other from it', () => {
  const shared = feed(['a'], {});
  const [b, c] = [feed(['b'], {}), feed(['c'], {})];
  const one = apart();
  const alone = [b, c].map((it) => ({ feed: it, steadyMs: 0 }));
  const due = Array.from({ length: 4 }, (_, n) => one.due(shared, alone, n * 250));
  const [first, second] = [{ join: b }, { join: c }];
  assert.deepEqual(due, [first, second, first, second]);
});

test('one that could not leave yet is due until it has', () => {
  const one = apart();
  const look = (): Due | undefined => one.due(held('b'), [], 1_000_000);
  after(one, () => [held('b')], 60);
  assert.deepEqual([look(), look()], [{ leave: [1] }, { leave: [1] }]);
  one.startOver();
  assert.equal(look(), undefined);
});
