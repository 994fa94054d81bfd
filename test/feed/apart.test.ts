import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Apart } from '../../src/feed/apart.ts';
import type { Regrouping } from '../../src/feed/feed-group.ts';
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
    routes: names.map((name) => ({ config: { name } })),
    heldBy,
    position: at(read),
    resume: () => ({ kind: 'after', ...at(delivered) }),
    lanesOf: () => [{ hold: held ? { reason: 'nacked' } : undefined }],
  } as unknown as Feed;
}

const held = (...by: string[]): Feed => feed(['a', 'b', 'c'], { state: 'held', heldBy: by });
const names = (change: Regrouping | undefined): string[][] | undefined =>
  change?.begins.map((routes) => routes.map(({ config }) => config.name));

/** Looks four times a second, at what `look` gives, until something is due. */
function after(apart: Apart, look: (n: number) => readonly Feed[], seconds: number): [number, Regrouping] | undefined {
  for (let n = 0; n <= seconds * 4; n++) {
    const change = apart.change(look(n), n * 250);
    if (change) return [n / 4, change];
  }
  return undefined;
}

test('one that holds the others for long enough goes on by itself', () => {
  const [seconds, change] = after(new Apart(30_000), () => [held('b')], 60)!;
  assert.equal(seconds, 30);
  assert.deepEqual(names(change), [['a', 'c'], ['b']]);
  assert.deepEqual([...change.stuck], ['b']);
});

test('one that lets go for moments is slow all the same; one that holds for moments is not', () => {
  const mostly = after(new Apart(30_000), (n) => [n % 20 === 0 ? held() : held('b')], 60);
  assert.deepEqual(names(mostly?.[1]), [['a', 'c'], ['b']]);
  const seldom = after(new Apart(30_000), (n) => [n % 2 === 0 ? held() : held('b')], 600);
  assert.equal(seldom, undefined);
});

test('where all are as slow, or it is never to be, nobody goes', () => {
  assert.equal(
    after(new Apart(30_000), () => [held('a', 'b', 'c')], 120),
    undefined,
  );
  assert.equal(
    after(new Apart(undefined), () => [held('b')], 120),
    undefined,
  );
});

test('a source that is away has no time counted', () => {
  const away = feed(['a', 'b'], { state: 'reconnecting', heldBy: ['b'] });
  assert.equal(
    after(new Apart(30_000), () => [away], 120),
    undefined,
  );
});

test('one that has caught up joins the others, once that has lasted', () => {
  const shared = feed(['a', 'c'], {});
  const alone = feed(['b'], {});
  const [seconds, change] = after(new Apart(30_000), () => [shared, alone], 60)!;
  assert.equal(seconds, 5);
  assert.deepEqual(names(change), [['a', 'c', 'b']]);
  assert.deepEqual([change.ends, [...change.stuck]], [[shared, alone], []]);
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
      after(new Apart(30_000), () => [shared, alone], 60),
      undefined,
    );
  });
}

test('nobody joins others that are held themselves, or behind', () => {
  for (const looks of [{ state: 'held' }, { held: true }, { read: 50 }]) {
    const [shared, alone] = [feed(['a', 'c'], looks), feed(['b'], {})];
    assert.equal(
      after(new Apart(30_000), () => [shared, alone], 60),
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
  assert.equal(after(new Apart(30_000), look, 60), undefined);
});
