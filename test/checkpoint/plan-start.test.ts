import assert from 'node:assert/strict';
import test from 'node:test';
import { planStart } from '../../src/checkpoint/plan-start.ts';
import type { StartInput, SubscriptionFacts } from '../../src/checkpoint/plan-start.ts';
import type { CheckpointRecord } from '../../src/checkpoint/record.ts';
import { checkpoint } from './fixtures.ts';

const stored = checkpoint('orders', 1_795_327_615);
const hex = stored.replicaSetId;

interface Case {
  readonly stored?: Partial<CheckpointRecord>;
  readonly now?: Partial<SubscriptionFacts>;
  readonly connected?: Partial<StartInput['connected']>;
  readonly repartition?: boolean;
}

function plan({ stored: changed, now, connected, repartition = false }: Case): ReturnType<typeof planStart> {
  return planStart({
    subscription: {
      name: 'orders',
      source: 'shop',
      routing: 'r1',
      layout: 'l1',
      partitions: 3,
      usesPartitionQueues: false,
      ...now,
    },
    stored: { ...stored, ...changed },
    connected: { replicaSetId: hex, setName: 'rs0', ...connected },
    repartition,
  });
}

const { resume, watermark, lanes } = stored;
const unused = [undefined, undefined, undefined];

test('a subscription without a record starts fresh', () => {
  const { name, source, routing, layout, partitions } = { ...stored, name: 'orders' };
  const subscription = { name, source, routing, layout, partitions, usesPartitionQueues: false };
  const connected = { replicaSetId: hex, setName: 'rs0' };
  assert.deepEqual(planStart({ subscription, stored: undefined, connected, repartition: false }), { kind: 'fresh' });
});

test('where nothing changed, the lanes go on where they were', () => {
  assert.deepEqual(plan({}), { kind: 'resume', resume, watermark, lanes });
});

const resumes: Record<string, { readonly given: Case; readonly lanes: unknown; readonly warning: RegExp }> = {
  'other filters': { given: { now: { routing: 'r2' } }, lanes: unused, warning: /come again/ },
  'more partitions without a queue for each': {
    given: { now: { routing: 'r2', layout: 'l2', partitions: 5 } },
    lanes: [...unused, undefined, undefined],
    warning: /come again/,
  },
  'another layout under the same routing': { given: { now: { layout: 'l2' } }, lanes: unused, warning: /come again/ },
  'another number of lanes than the record has': {
    given: { now: { partitions: 2 } },
    lanes: [undefined, undefined],
    warning: /come again/,
  },
  'partition queues, and the user says they are empty': {
    given: {
      stored: { partitionQueues: true },
      now: { routing: 'r2', layout: 'l2', usesPartitionQueues: true },
      repartition: true,
    },
    lanes: unused,
    warning: /another queue.*come again/,
  },
  'a destination that only now has a queue for each partition': {
    given: { now: { routing: 'r2', layout: 'l2', usesPartitionQueues: true } },
    lanes: unused,
    warning: /come again/,
  },
  'a source with another name': { given: { now: { source: 'store' } }, lanes, warning: /now called "store"/ },
  'an id that may no longer be read': {
    given: { connected: { replicaSetId: 'name:rs0' } },
    lanes,
    warning: /cannot be told.*local\.system\.replset/,
  },
  'an id that may be read since, of a set of the same name': {
    given: { stored: { replicaSetId: 'name:rs0' } },
    lanes,
    warning: /cannot be told/,
  },
};

for (const [what, { given, lanes: expected, warning }] of Object.entries(resumes)) {
  test(`a start with ${what} resumes at the same position with a warning`, () => {
    const found = plan(given);
    assert.ok(found.kind === 'resume');
    assert.deepEqual(found.resume, resume);
    assert.deepEqual(found.lanes, expected);
    assert.match(found.warning ?? '', warning);
  });
}

test('a set known by name that keeps its name resumes without a warning', () => {
  const found = plan({ stored: { replicaSetId: 'name:rs0' }, connected: { replicaSetId: 'name:rs0' } });
  assert.deepEqual(found, { kind: 'resume', resume, watermark, lanes });
});

const others: Record<string, Case> = {
  'another id': { connected: { replicaSetId: 'aaaaaaaaaaaaaaaaaaaaaaaa' } },
  'another id, whatever is said on the command line': {
    connected: { replicaSetId: 'aaaaaaaaaaaaaaaaaaaaaaaa' },
    repartition: true,
  },
  'another name': {
    stored: { replicaSetId: 'name:rs0' },
    connected: { replicaSetId: 'name:rs1', setName: 'rs1' },
  },
  'an id, and another name than the one stored': {
    stored: { replicaSetId: 'name:rs0' },
    connected: { setName: 'rs1' },
  },
  'an id that cannot be compared, under another source': {
    now: { source: 'store' },
    connected: { replicaSetId: 'name:rs0' },
  },
};

for (const [what, given] of Object.entries(others)) {
  test(`a replica set with ${what} is refused with what to do`, () => {
    assert.throws(() => plan(given), { code: 'other-replica-set', message: /checkpoint forget orders/ });
  });
}

test('a changed layout is refused where queues carry the partition, naming the queues to empty', () => {
  const given = {
    stored: { partitionQueues: true, partitions: 3 },
    now: { routing: 'r2', layout: 'l2', partitions: 8, usesPartitionQueues: true, queue: 'orders.{partition}' },
  };
  assert.throws(() => plan(given), {
    code: 'repartition-needed',
    message: /3 partitions then, 8 now.*queues orders\.0 to orders\.2 first.*--repartition/s,
  });
});
