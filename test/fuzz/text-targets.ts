/** What people write: the configuration as a whole, and what its settings are made of. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { readCopy, writeCopy } from '../../src/checkpoint/copy.ts';
import { COPY } from '../../src/checkpoint/data-folder.ts';
import { encodeCheckpoint } from '../../src/checkpoint/record.ts';
import { loadConfig } from '../../src/config/load.ts';
import { globsIntersect, patternFault } from '../../src/config/patterns.ts';
import { parseStart } from '../../src/config/start.ts';
import { templateFault } from '../../src/config/templates.ts';
import { parseBytes, parseDuration } from '../../src/config/units.ts';
import { ConditionFault, parseCondition, pathFault } from '../../src/config/where.ts';
import { redact, withoutSecrets } from '../../src/config/redact.ts';
import { UserError } from '../../src/errors.ts';
import { compilePatterns } from '../../src/worker/pattern.ts';
import { checkpoint } from '../checkpoint/fixtures.ts';
import type { Random } from '../worker/damage.ts';
import { mayThrow, pure } from './target.ts';
import type { Target } from './target.ts';

const SAMPLES = 20;
const SOUND = `sources:
  shop: { uri: "mongodb://u:p@h1,h2/?replicaSet=rs", mode: oplog, start: latest }
sinks:
  rabbit: { uri: "\${AMQP_URI}", window: 256, heartbeat: 5s, maxMessageBytes: 16MiB }
subscriptions:
  - name: orders
    namespaces: ["shop.orders", "shop.order_*", "!shop.order_tmp*"]
    operations: [insert, update]
    format: json
    where: { any: [{ fullDocument.status: paid }, { not: { documentKey._id: { gt: 5 } } }] }
    fields: { exclude: [card.number] }
    batch: { maxEvents: 1, maxBytes: 64KiB, linger: 0ms }
    to: { sink: rabbit, exchange: changes, routingKey: "{db}.{coll}.{operationType}", queues: [{ name: q, bind: "#" }] }
pipeline: { workers: auto, partitions: 16, partitionBy: [{ namespaces: ["shop.events"], key: document }] }
checkpoint: { path: ./data, interval: 500ms }
parked: { maxBytes: 1GiB }
http: { listen: "127.0.0.1:9464" }
log: { level: info }
`;
const PIECES = [
  ...': - , { } [ ] " \' # & * ! | > % @ ? ~ \t \0 \u2028 é 😀 {db} {nope} {{ }} ${ ${X} ${file: ${AMQP_URI} } null true 0 -1 1e999'.split(
    ' ',
  ),
  ...'0x10 .inf .nan 1KiB 99999999999999999GiB 5s *a &a !!binary !!js/function <<: --- ... __proto__ constructor mongodb:// amqp://'.split(
    ' ',
  ),
  '\n',
  '\n  ',
  ' ',
  '&a [*a, *a, *a]',
  '{'.repeat(40),
  '['.repeat(2_000),
  'x'.repeat(5_000),
  '9'.repeat(400),
];

function damagedText(random: Random, text: string): string {
  let result = text;
  for (let times = 1 + random.below(4); times > 0; times--) {
    const at = random.below(result.length + 1);
    const length = random.below(4) === 0 ? random.below(60) : random.below(3);
    const from = random.below(result.length + 1);
    const piece = random.below(5) === 0 ? result.slice(from, from + random.below(80)) : random.of(PIECES);
    result = result.slice(0, at) + piece + result.slice(at + length);
  }
  return result;
}

const config: Target = {
  name: 'configuration files',
  share: 1,
  async open() {
    const folder = await mkdtemp(join(tmpdir(), 'tailrace-fuzz-'));
    const path = join(folder, 'tailrace.yaml');
    return {
      async round({ random }) {
        await writeFile(path, damagedText(random, SOUND));
        try {
          await loadConfig(path, { AMQP_URI: 'amqp://guest:hunter2secret@localhost' });
        } catch (error) {
          if (!(error instanceof UserError)) throw error;
          assert.equal(error.code, 'config-invalid');
          assert.ok(!error.message.includes('hunter2secret'), 'a secret is in the message');
        }
        return 1;
      },
      [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
    };
  },
};

/** The checkpoints' copy in the data folder, which people can read, and so may edit. */
const copies: Target = {
  name: 'copies of the checkpoints',
  share: 1,
  async open() {
    const folder = await mkdtemp(join(tmpdir(), 'tailrace-fuzz-'));
    const record = checkpoint('orders', 7);
    // Behind the record's checksum and version there is JSON.
    const records = [encodeCheckpoint(record).subarray(5).toString()];
    await writeCopy(folder, { records, gaps: [], definitions: undefined });
    const sound = await readFile(join(folder, COPY), 'utf8');
    return {
      async round({ random }) {
        const text = damagedText(random, sound);
        await writeFile(join(folder, COPY), text);
        try {
          const copy = await readCopy(folder);
          assert.deepEqual(copy?.records, [record], 'damage was taken for a copy');
        } catch (error) {
          if (!(error instanceof UserError)) throw error;
          assert.ok(error.code === 'store-damaged' || error.code === 'store-newer', error.code);
        }
        return 1;
      },
      [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
    };
  },
};

const letters = fc.constantFrom(...'a b . * ! { } : 0 9 1 5 s m h d K i B G - T Z \u0000 é'.split(' '), ' ');
const words = fc.oneof(
  fc.string({ unit: letters, maxLength: 40 }),
  fc.string({ unit: 'binary' }),
  fc.constantFrom(...PIECES),
);
const conditions = fc.oneof(
  fc.jsonValue(),
  fc.object({
    key: fc.constantFrom(
      'all',
      'any',
      'not',
      'gt',
      'in',
      'exists',
      'matches',
      'operationType',
      'fullDocument.a',
      '__proto__',
      'x',
    ),
    maxDepth: 4,
  }),
);

const settings = pure('settings', 3, ({ seed }) => {
  const of = { numRuns: SAMPLES, seed };
  for (const [a, b, number] of fc.sample(fc.tuple(words, words, fc.double()), of)) {
    for (const parsed of [parseBytes(a), parseDuration(a), parseBytes(number), parseDuration(number)]) {
      if ('value' in parsed) assert.ok(Number.isSafeInteger(parsed.value) && parsed.value >= 0, `${a} or ${number}`);
    }
    parseStart(a);
    templateFault(a);
    pathFault(a);
    redact(a);
    withoutSecrets(b, a);
    if (patternFault(a) === undefined && patternFault(b) === undefined) {
      globsIntersect(a, b);
      compilePatterns([a, b])(b);
    }
  }
  for (const condition of fc.sample(conditions, of)) {
    mayThrow(
      () => parseCondition(condition),
      (error) => error instanceof ConditionFault,
    );
  }
  return SAMPLES * 2;
});

export const TEXT_TARGETS: readonly Target[] = [config, copies, settings];
