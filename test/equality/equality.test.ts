import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { MongoServer } from '../servers/index.ts';
import { assertEqual } from './assert-equal.ts';
import { placeInToken } from './resume-token.ts';
import { startCompared } from './server.ts';
import { stepsOf } from './steps.ts';

const OPERATIONS = 50_000;
const FEWER = 10_000;
const SEED = 20_261_124;

describe('for a random workload', () => {
  let mongo: MongoServer;

  before(async () => {
    mongo = await startCompared();
  });

  after(async () => {
    await mongo.stop();
  });

  test("our events equal those of the server's own change stream, field by field", { timeout: 600_000 }, async (t) => {
    await assertEqual(t, { uri: mongo.uri, seed: SEED, operations: OPERATIONS });
  });

  test('they do where a change stream is read, too', { timeout: 300_000 }, async (t) => {
    await assertEqual(t, { uri: mongo.uri, seed: SEED + 1, operations: FEWER, modes: ['changeStream'] });
  });

  test(
    'nothing is missing, double or different where a source is switched to the other mode and back under writes',
    {
      timeout: 300_000,
    },
    async (t) => {
      await assertEqual(t, { uri: mongo.uri, seed: SEED + 2, operations: FEWER, modes: ['oplog', 'changeStream'] });
    },
  );
});

test('the same seed gives the same steps, another one others', () => {
  const steps = (seed: number): string =>
    JSON.stringify(stepsOf({ seed, operations: 300, ddl: true, large: true }), (_, value: unknown) =>
      value instanceof Uint8Array ? Buffer.from(value).toString('hex') : typeof value === 'bigint' ? `${value}` : value,
    );
  assert.equal(steps(7), steps(7));
  assert.notEqual(steps(7), steps(8));
});

test("an event's place is read out of the server's resume token", () => {
  const tokens: [string, object][] = [
    ['826B06192B000000052B022C01002B026E5A1004', { seconds: 1_795_561_771, increment: 5, index: 1 }],
    ['826B06192B000000052B022C0100296E5A1004', { seconds: 1_795_561_771, increment: 5, index: 0 }],
    ['826B06192B000000052B022C01002C01F46E5A1004', { seconds: 1_795_561_771, increment: 5, index: 250 }],
  ];
  for (const [data, place] of tokens) assert.deepEqual(placeInToken(data), place);
});
