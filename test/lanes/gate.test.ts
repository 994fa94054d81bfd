import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { deliver, wholeOf } from '../../src/lanes/deliver.ts';
import { Lane } from '../../src/lanes/lane.ts';
import { Ledger } from '../../src/lanes/ledger.ts';
import { Field, GATE, RECORD_FIELDS } from '../../src/worker/protocol.ts';
import type { LaneMessage, LanePort, OpenPort, PortListener } from '../../src/lanes/port.ts';
import type { BatchResult } from '../../src/worker/protocol.ts';

/** One broker for several lanes, which answers as the test says; `arrived` is the order in which it took messages. */
class Broker {
  readonly arrived: string[] = [];
  readonly ways: Way[] = [];

  port(lane: number): LanePort {
    const open = (listener: PortListener): Promise<OpenPort> => {
      const way = (this.ways[lane] = new Way(listener));
      return Promise.resolve({
        ready: true,
        publish: ({ messageId }: LaneMessage) => {
          const tag = ++way.tag;
          way.open.push({ id: messageId, tag });
          this.arrived.push(messageId);
        },
        prepare: () => undefined,
        close: () => {},
      });
    };
    return { open, mend: () => Promise.resolve() };
  }
}

class Way {
  readonly listener: PortListener;
  tag = 0;
  open: { readonly id: string; readonly tag: number }[] = [];

  constructor(listener: PortListener) {
    this.listener = listener;
  }

  confirmAll(): void {
    for (const { tag } of this.open.splice(0)) this.listener.confirmed(tag, false);
  }

  refuse(): void {
    const first = this.open.shift();
    if (first) this.listener.refused(first.tag, false);
  }

  cut(): void {
    this.open = [];
    this.listener.closed({ kind: 'connection', code: undefined, reason: 'cut' });
  }
}

/** What stands in one lane: an event's number, or a gate. */
type Item = number | { readonly gate: number; readonly counts: boolean };

interface Rig {
  readonly broker: Broker;
  readonly lanes: Lane[];
  readonly ledger: Ledger;
  /** A batch: what each lane gets of it, and how many arrivals open each of its gates. */
  readonly push: (perLane: readonly (readonly Item[])[], gates: readonly number[]) => void;
}

function rig(count: number, options: Partial<ConstructorParameters<typeof Lane>[0]> = {}): Rig {
  const broker = new Broker();
  const ledger = new Ledger({ subscriptions: 1, release: () => {} });
  const lanes = Array.from({ length: count }, (_, partition) => {
    const lane = new Lane({ ...laneOptions(partition), port: broker.port(partition), ...options });
    lane.start();
    return lane;
  });
  const push: Rig['push'] = (perLane, gates) => {
    const items = perLane.flatMap((list, lane) => list.map((item) => ({ lane, item })));
    const records = new Uint32Array(items.length * RECORD_FIELDS);
    let last = 0;
    for (const [n, { lane, item }] of items.entries()) {
      const at = n * RECORD_FIELDS;
      records[at + Field.lane] = lane;
      if (typeof item === 'number') {
        records[at + Field.length] = 1;
        records[at + Field.events] = 1;
        for (const field of [Field.firstSeconds, Field.lastSeconds]) records[at + field] = 1;
        for (const field of [Field.firstIncrement, Field.lastIncrement]) records[at + field] = item;
        last = Math.max(last, item);
      } else {
        records[at + Field.type] = GATE;
        records[at + Field.offset] = item.gate;
        records[at + Field.events] = item.counts ? 1 : 0;
      }
    }
    const result = resultOf(records, gates);
    deliver(wholeOf(result), {
      source: 's',
      subscriptions: 1,
      has: () => true,
      partitions: count,
      ledger,
      last: { ts: { seconds: 1, increment: last }, t: 1 },
      lane: (number) => lanes[number]!,
    });
  };
  return { broker, lanes, ledger, push };
}

function resultOf(records: Uint32Array, gates: readonly number[]): BatchResult {
  return {
    kind: 'done',
    records,
    bodies: new Uint8Array(1),
    routingKeys: ['k'],
    parked: [],
    gates,
    marks: [],
    last: undefined,
    lastWallMs: 0,
    entries: 1,
    events: new Uint32Array(1),
    filtered: 0,
    unknownOps: {},
    decodeMs: 0,
  };
}

const BEFORE = { gate: 0, counts: true };
const home = { gate: 1, counts: true };
const other = { gate: 1, counts: false };

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const id = (n: number): string => `s:1.${n}.0`;

async function until(what: () => boolean): Promise<void> {
  const end = Date.now() + 10_000;
  while (!what()) {
    assert.ok(Date.now() < end, 'it did not happen within 10 s');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

function close({ lanes }: Rig): void {
  for (const lane of lanes) lane.close();
}

describe('a command between two gates', () => {
  test('goes once everything before it is confirmed in every lane, and nothing after it goes before its own confirm', async () => {
    const it = rig(3);
    const { broker, push } = it;
    push(
      [
        [1, BEFORE, 10, home, 11],
        [2, 3, BEFORE, other, 12],
        [BEFORE, other, 13],
      ],
      [3, 1],
    );
    await turn();
    assert.deepEqual(broker.arrived, [id(1), id(2), id(3)]);
    broker.ways[0]!.confirmAll();
    broker.ways[1]!.listener.confirmed(1, false);
    await turn();
    assert.deepEqual(broker.arrived, [id(1), id(2), id(3)], 'the second lane has not drained');
    broker.ways[1]!.listener.confirmed(2, false);
    await turn();
    assert.deepEqual(broker.arrived, [id(1), id(2), id(3), id(10)]);
    await turn();
    broker.ways[0]!.confirmAll();
    await turn();
    assert.deepEqual(broker.arrived.slice(4).toSorted(), [id(11), id(12), id(13)]);
    close(it);
  });

  test('lets lanes that it does not concern go on while it waits for one that is held', async () => {
    const it = rig(3);
    const { broker, lanes, push } = it;
    push([[1, BEFORE, 10, home], [2, BEFORE, other, 12], [3]], [2, 1]);
    await turn();
    broker.ways[0]!.refuse();
    await turn();
    assert.equal(lanes[0]!.hold?.reason, 'nacked');
    for (let n = 20; n < 30; n++) {
      push([[], [], [n]], []);
      await turn();
      broker.ways[2]!.confirmAll();
    }
    assert.equal(broker.arrived.filter((one) => Number(one.split('.')[1]) >= 20).length, 10);
    broker.ways[1]!.confirmAll();
    await turn();
    assert.ok(!broker.arrived.includes(id(10)));
    await until(() => broker.ways[0]!.open.length > 0);
    broker.ways[0]!.confirmAll();
    await turn();
    assert.ok(broker.arrived.includes(id(10)));
    close(it);
  });

  test('counts in no ticket: the watermark passes with the messages, and never before them', async () => {
    const it = rig(2);
    const { broker, ledger, lanes, push } = it;
    push(
      [
        [1, BEFORE, 10, home],
        [BEFORE, other],
      ],
      [2, 1],
    );
    await turn();
    assert.equal(lanes[0]!.queued, 1, 'the command waits; gates are no messages');
    assert.equal(lanes[1]!.queued, 0);
    broker.ways[0]!.confirmAll();
    await turn();
    assert.equal(ledger.watermark(0), undefined);
    broker.ways[0]!.confirmAll();
    assert.equal(ledger.watermark(0)?.ts.increment, 10);
    assert.ok(ledger.settled);
    close(it);
  });

  test('opens for a lane whose way to the broker is not open, as long as it has nothing under way', async () => {
    const stuck: LanePort = { open: () => new Promise(() => {}), mend: () => Promise.resolve() };
    const it = rig(2);
    const { broker, lanes, push } = it;
    lanes[1]!.close();
    lanes[1] = new Lane({ ...laneOptions(1), port: stuck });
    lanes[1].start();
    push(
      [
        [BEFORE, 10, home],
        [BEFORE, other],
      ],
      [2, 1],
    );
    await turn();
    await turn();
    assert.deepEqual(broker.arrived, [id(10)]);
    close(it);
  });

  test('a lane that is stopped while it waits stays stopped when the gate opens', async () => {
    const it = rig(2);
    const { broker, lanes, push } = it;
    push(
      [
        [1, BEFORE, 10, home],
        [BEFORE, other, 12],
      ],
      [2, 1],
    );
    await turn();
    const drained = Promise.all(lanes.map((lane) => lane.drain()));
    broker.ways[0]!.confirmAll();
    await drained;
    await turn();
    assert.deepEqual(broker.arrived, [id(1)]);
    close(it);
  });

  test('is never joined over where messages hold many events', async () => {
    const it = rig(1, { maxEvents: 100, lingerMs: 60_000 });
    const { broker, push } = it;
    push([[1, 2, BEFORE, 10, home, 11]], [1, 1]);
    await turn();
    await until(() => broker.arrived.length === 1);
    assert.deepEqual(
      broker.arrived,
      ['s:1.1.0..s:1.2.0'],
      'nothing can join what stands before a gate: it does not linger',
    );
    broker.ways[0]!.confirmAll();
    assert.deepEqual(broker.arrived.slice(1), [id(10)]);
    close(it);
  });

  test('whatever the broker does, keeps its place among the last deliveries of all lanes', async () => {
    const step = fc.record({ lane: fc.nat(2), what: fc.constantFrom('ack', 'ack', 'nack', 'cut', 'push', 'wait') });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
        const it = rig(3);
        const { broker, ledger, push } = it;
        /** Numbers of commands: everything with a smaller number is older, in every lane. */
        const commands: number[] = [];
        let next = 1;
        const pushBatch = (): void => {
          const command = next + 6;
          commands.push(command);
          push(
            [
              [next, next + 1, BEFORE, command, home, command + 1],
              [next + 2, BEFORE, other, command + 2],
              [BEFORE, other, command + 3],
            ],
            [3, 1],
          );
          next = command + 4;
        };
        pushBatch();
        for (const { lane, what } of steps) {
          await turn();
          const way = broker.ways[lane]!;
          if (what === 'ack') way.confirmAll();
          else if (what === 'nack') way.refuse();
          else if (what === 'cut') way.cut();
          else if (what === 'push') pushBatch();
          else await new Promise((resolve) => setTimeout(resolve, 2));
        }
        await until(() => {
          for (const way of broker.ways) way.confirmAll();
          return ledger.settled;
        });
        const last = [...new Set(broker.arrived.toReversed())].toReversed().map((one) => Number(one.split('.')[1]));
        for (const command of commands) {
          const at = last.indexOf(command);
          assert.deepEqual(
            last.slice(0, at).filter((n) => n > command),
            [],
            `overtaken by something newer than ${command}`,
          );
          assert.deepEqual(
            last.slice(at).filter((n) => n < command),
            [],
            `something older came after ${command}`,
          );
        }
        close(it);
      }),
      { numRuns: 40 },
    );
  });
});

function laneOptions(partition: number): Omit<ConstructorParameters<typeof Lane>[0], 'port'> {
  return {
    subscription: 0,
    partition,
    window: 4,
    maxEvents: 1,
    maxBytes: 65_536,
    lingerMs: 0,
    onUnroutable: 'hold',
    confirmTimeoutMs: 30_000,
    now: () => performance.now(),
    park: async () => {},
    observer: { published: () => {}, confirmed: () => {}, refused: () => {}, returned: () => {}, held: () => {} },
  };
}
