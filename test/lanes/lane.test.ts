import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { Lane } from '../../src/lanes/lane.ts';
import { Ledger } from '../../src/lanes/ledger.ts';
import { Field, RECORD_FIELDS } from '../../src/worker/protocol.ts';
import type { Run } from '../../src/lanes/run.ts';
import type { LaneMessage, LanePort, OpenPort, PortListener } from '../../src/lanes/port.ts';

/** A broker with a script: what it does with each message is decided by the test. Real brokers are met in test/sinks. */
class ScriptedPort implements LanePort {
  opened = 0;
  listener: PortListener | undefined;
  /** Every message in the order it was published, over all incarnations. */
  readonly sent: { readonly id: string; readonly tag: number; readonly opening: number; readonly events: number }[] =
    [];
  #tag = 0;

  open(listener: PortListener): Promise<OpenPort> {
    this.opened++;
    this.#tag = 0;
    this.listener = listener;
    const opening = this.opened;
    return Promise.resolve({
      ready: true,
      publish: (message: LaneMessage) => {
        this.sent.push({ id: message.messageId, tag: ++this.#tag, opening, events: message.events });
      },
      prepare: () => undefined,
      close: () => {},
    });
  }

  mend(): Promise<void> {
    return Promise.resolve();
  }
}

interface Rig {
  readonly lane: Lane;
  readonly port: ScriptedPort;
  readonly ledger: Ledger;
  readonly parked: string[];
  readonly push: (from: number, to: number) => void;
}

function rig(options: Partial<ConstructorParameters<typeof Lane>[0]> = {}): Rig {
  const port = new ScriptedPort();
  const ledger = new Ledger({ subscriptions: 1, release: () => {} });
  const parked: string[] = [];
  const lane = new Lane({
    subscription: 0,
    partition: 0,
    port,
    window: 8,
    maxEvents: 1,
    maxBytes: 65_536,
    lingerMs: 0,
    onUnroutable: 'hold',
    confirmTimeoutMs: 30_000,
    now: () => performance.now(),
    park: async (message) => {
      parked.push(message.messageId);
    },
    observer: { published: () => {}, confirmed: () => {}, refused: () => {}, returned: () => {}, held: () => {} },
    ...options,
  });
  lane.start();
  return {
    lane,
    port,
    ledger,
    parked,
    push: (from, to) => lane.push(run(ledger, from, to)),
  };
}

/** A batch with the events `s:1.<from>.0` … `s:1.<to - 1>.0`, each a message. */
function run(ledger: Ledger, from: number, to: number): Run {
  const count = to - from;
  const records = new Uint32Array(count * RECORD_FIELDS);
  for (let n = 0; n < count; n++) {
    const at = n * RECORD_FIELDS;
    records[at + Field.length] = 1;
    records[at + Field.offset] = n;
    records[at + Field.events] = 1;
    for (const field of [Field.firstSeconds, Field.lastSeconds]) records[at + field] = 1;
    for (const field of [Field.firstIncrement, Field.lastIncrement]) records[at + field] = from + n;
  }
  const ticket = ledger.open({ ts: { seconds: 1, increment: to - 1 }, t: 1 }, count, Uint32Array.of(count));
  return {
    delivery: { source: 's', ticket, records, bodies: Buffer.alloc(count), routingKeys: ['k'], gates: [] },
    next: 0,
    to: count,
  };
}

/** A function: assertions would otherwise narrow the getter for good. */
const positionOf = (lane: Lane) => lane.confirmedPosition?.ts;
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const ids = (from: number, to: number): string[] => Array.from({ length: to - from }, (_, n) => `s:1.${from + n}.0`);

async function until(what: () => boolean): Promise<void> {
  const end = Date.now() + 10_000;
  while (!what()) {
    assert.ok(Date.now() < end, 'it did not happen within 10 s');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

describe('a lane', () => {
  test('never has more messages under way than its window', async () => {
    const { lane, port, push } = rig({ window: 3 });
    push(0, 10);
    await turn();
    assert.equal(port.sent.length, 3);
    port.listener!.confirmed(1, false);
    assert.equal(port.sent.length, 4);
    assert.equal(lane.unconfirmed, 3);
    lane.close();
  });

  test('a confirm that comes out of order does not move the position past the gap', async () => {
    const { lane, port, ledger, push } = rig();
    push(0, 3);
    await turn();
    port.listener!.confirmed(2, false);
    port.listener!.confirmed(3, false);
    assert.equal(lane.confirmedPosition, undefined);
    assert.equal(ledger.watermark(0), undefined);
    port.listener!.confirmed(1, false);
    assert.deepEqual(lane.confirmedPosition, { ts: { seconds: 1, increment: 2 }, index: 0 });
    assert.deepEqual(ledger.watermark(0), { ts: { seconds: 1, increment: 2 }, t: 1 });
    lane.close();
  });

  test('after a lost connection everything from the first unconfirmed message is sent again', async () => {
    const { lane, port, push } = rig();
    push(0, 4);
    await turn();
    port.listener!.confirmed(2, true);
    port.listener!.closed({ kind: 'connection', code: undefined, reason: 'cut' });
    await turn();
    assert.deepEqual(
      port.sent.filter(({ opening }) => opening === 2).map(({ id }) => id),
      ids(2, 4),
    );
    port.listener!.confirmed(2, true);
    assert.equal(lane.unconfirmed, 0);
    lane.close();
  });

  test('answers of a channel that was lost are not taken for those of the new one', async () => {
    const { lane, port, push } = rig();
    push(0, 2);
    await turn();
    const old = port.listener!;
    old.closed({ kind: 'connection', code: undefined, reason: 'cut' });
    await turn();
    old.confirmed(2, true);
    assert.equal(lane.unconfirmed, 2);
    lane.close();
  });

  test('after a nack it waits until all is answered, then sends again from the refused message, one at first', async () => {
    const { lane, port, push } = rig();
    push(0, 4);
    await turn();
    port.listener!.confirmed(1, false);
    port.listener!.refused(2, false);
    port.listener!.confirmed(3, false);
    await new Promise((resolve) => setTimeout(resolve, 150));
    assert.equal(port.sent.length, 4, 'one message is still unanswered');
    assert.equal(lane.hold?.reason, 'nacked');
    port.listener!.confirmed(4, false);
    await until(() => port.sent.length > 4);
    assert.deepEqual(
      port.sent.slice(4).map(({ id }) => id),
      ids(1, 2),
    );
    port.listener!.confirmed(5, false);
    assert.deepEqual(
      port.sent.slice(5).map(({ id }) => id),
      ids(2, 4),
    );
    port.listener!.confirmed(7, true);
    assert.deepEqual(positionOf(lane), { seconds: 1, increment: 3 });
    assert.equal(lane.hold, undefined);
    lane.close();
  });

  test('a channel that refuses again and again is left for a new one', async () => {
    const { lane, port, push } = rig();
    push(0, 2);
    await turn();
    port.listener!.refused(2, true);
    await until(() => port.sent.length === 3);
    assert.equal(port.opened, 1);
    port.listener!.refused(3, false);
    await until(() => port.sent.length === 4);
    assert.deepEqual(port.sent.at(-1), { id: 's:1.0.0', tag: 1, opening: 2, events: 1 });
    port.listener!.confirmed(1, false);
    port.listener!.confirmed(2, false);
    assert.deepEqual(positionOf(lane), { seconds: 1, increment: 1 });
    assert.equal(lane.hold, undefined);
    lane.close();
  });

  test('where the destination cannot be put right, the reason for the hold says why', async () => {
    const { lane, port, push } = rig();
    port.mend = () => Promise.reject(new Error('it has other arguments'));
    push(0, 1);
    await turn();
    for (const tries of [1, 2]) {
      port.listener!.returned('s:1.0.0', 'no queue');
      port.listener!.confirmed(tries, false);
      if (tries === 1) await until(() => port.sent.length === 2);
    }
    assert.equal(lane.hold?.detail, 'no queue; it could not be put right: it has other arguments');
    lane.close();
  });

  test('a returned message is not delivered, though the broker confirms it', async () => {
    const { lane, port, ledger, push } = rig();
    push(0, 1);
    await turn();
    port.listener!.returned('s:1.0.0', 'NO_ROUTE');
    port.listener!.confirmed(1, false);
    assert.equal(lane.confirmedPosition, undefined);
    assert.equal(ledger.watermark(0), undefined);
    assert.equal(lane.hold?.reason, 'unroutable');
    assert.deepEqual([lane.queued, lane.unconfirmed], [1, 0]);
    await until(() => port.sent.length === 2);
    assert.deepEqual([lane.queued, lane.unconfirmed], [0, 1]);
    port.listener!.confirmed(2, false);
    assert.deepEqual(positionOf(lane), { seconds: 1, increment: 0 });
    lane.close();
  });

  test('with onUnroutable: park a returned message is set aside and the others go on', async () => {
    const { lane, port, ledger, parked, push } = rig({ onUnroutable: 'park' });
    push(0, 3);
    await turn();
    port.listener!.returned('s:1.1.0', 'NO_ROUTE');
    port.listener!.confirmed(3, true);
    await turn();
    assert.deepEqual(parked, ['s:1.1.0']);
    assert.equal(lane.hold, undefined);
    assert.deepEqual(ledger.watermark(0)?.ts, { seconds: 1, increment: 2 });
    assert.equal(port.sent.length, 3);
    lane.close();
  });

  test('the message that closes its channel with 406 while it is alone is parked, and no other', async () => {
    const { lane, port, ledger, parked, push } = rig();
    push(0, 3);
    const answer = (): void => {
      const mine = port.sent.filter(({ opening }) => opening === port.opened);
      const bad = mine.find(({ id }) => id === 's:1.1.0');
      if (bad) port.listener!.closed({ kind: 'channel', code: 406, reason: 'too large' });
      else if (mine.length > 0) port.listener!.confirmed(mine.at(-1)!.tag, true);
    };
    const timer = setInterval(answer, 5);
    await until(() => ledger.watermark(0)?.ts.increment === 2);
    clearInterval(timer);
    assert.deepEqual(parked, ['s:1.1.0']);
    lane.close();
  });

  test('a confirm that never comes ends the channel, and everything is sent again', async () => {
    const { lane, port, push } = rig({ confirmTimeoutMs: 50 });
    push(0, 2);
    await turn();
    lane.checkOverdue(performance.now());
    await new Promise((resolve) => setTimeout(resolve, 60));
    lane.checkOverdue(performance.now() + 60);
    assert.equal(lane.hold?.reason, 'confirm-timeout');
    await until(() => port.opened === 2 && port.sent.length === 3);
    lane.close();
  });

  test('a drain publishes nothing more and ends when all that is under way is answered', async () => {
    const { lane, port, push } = rig({ window: 2 });
    push(0, 5);
    await turn();
    let drained = false;
    const drain = lane.drain().then(() => (drained = true));
    port.listener!.confirmed(1, false);
    await turn();
    assert.equal(drained, false);
    port.listener!.confirmed(2, false);
    await drain;
    assert.equal(port.sent.length, 2);
    assert.deepEqual(positionOf(lane), { seconds: 1, increment: 1 });
    lane.close();
  });

  test('small messages of several batches are joined while they wait, up to maxEvents', async () => {
    const { lane, port, push } = rig({ window: 1, maxEvents: 4 });
    push(0, 1);
    await turn();
    for (let n = 1; n < 10; n++) push(n, n + 1);
    for (let tag = 1; tag <= 4; tag++) port.listener!.confirmed(tag, false);
    assert.deepEqual(
      port.sent.map(({ events }) => events),
      [1, 4, 4, 1],
    );
    assert.equal(port.sent[1]!.id, 's:1.1.0..s:1.4.0');
    lane.close();
  });

  test('on a quiet stream each event goes at once, a message of its own', async () => {
    const { port, push } = rig({ maxEvents: 4 });
    await turn();
    for (let n = 1; n <= 10; n++) {
      push(n, n + 1);
      assert.equal(port.sent.length, n);
      port.listener!.confirmed(n, false);
    }
    assert.ok(port.sent.every(({ events }) => events === 1));
  });

  test('a backlog fills messages across batches, and its rest goes when the confirms have come', async () => {
    const { lane, port, push } = rig({ maxEvents: 4 });
    await turn();
    // The first few go as they come: the lane is not busy yet.
    for (let n = 1; n <= 4; n++) push(n, n + 1);
    assert.deepEqual(
      port.sent.map(({ events }) => events),
      [1, 1, 1, 1],
    );
    push(5, 8);
    push(8, 11);
    assert.deepEqual(
      port.sent.map(({ id }) => id).slice(4),
      ['s:1.5.0..s:1.8.0'],
      'a full one goes, though it is of two batches; two events wait for company',
    );
    push(11, 12);
    assert.equal(port.sent.length, 5);
    port.listener!.confirmed(5, true);
    assert.deepEqual(
      port.sent.map(({ id }) => id).slice(5),
      ['s:1.9.0..s:1.11.0'],
      'with nothing unanswered the rest goes, though it is not full',
    );
    port.listener!.confirmed(6, false);
    assert.deepEqual(positionOf(lane), { seconds: 1, increment: 11 });
    assert.equal(lane.queued, 0);
  });

  test('with linger a message waits for company, and no longer than that', async () => {
    const { lane, port, push } = rig({ maxEvents: 4, lingerMs: 40 });
    await turn();
    push(0, 1);
    assert.equal(port.sent.length, 0);
    push(1, 2);
    await until(() => port.sent.length === 1);
    assert.equal(port.sent[0]!.events, 2);
    push(2, 6);
    assert.equal(port.sent.length, 2, 'a full message does not wait');
    lane.close();
  });

  test('whatever the broker does, nothing is lost and the last delivery of each message is in order', async () => {
    const step = fc.constantFrom('ack', 'ack', 'ackAll', 'ackLast', 'nack', 'return', 'cut', 'push', 'wait');
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 5, maxLength: 40 }),
        fc.integer({ min: 1, max: 5 }),
        async (steps, window) => {
          const { lane, port, ledger, push } = rig({ window });
          /** The queue: the broker takes messages in the order they were sent, and leaves out what it refuses or cannot route. */
          let queue: { readonly id: string; readonly tag: number }[] = [];
          let taken = 0;
          let unanswered: { readonly id: string; readonly tag: number }[] = [];
          const collect = (): void => {
            for (; taken < port.sent.length; taken++) {
              const message = port.sent[taken]!;
              if (message.opening !== port.opened) continue;
              unanswered.push(message);
              queue.push(message);
            }
          };
          const answer = (at: number, how: 'ack' | 'nack' | 'return'): void => {
            const [message] = unanswered.splice(at, 1);
            if (!message) return;
            if (how !== 'ack') queue = queue.filter((it) => it !== message);
            if (how === 'return') port.listener!.returned(message.id, 'NO_ROUTE');
            if (how === 'nack') port.listener!.refused(message.tag, false);
            else port.listener!.confirmed(message.tag, false);
          };
          let pushed = 0;
          for (const what of steps) {
            await turn();
            collect();
            if (what === 'push') {
              push(pushed, pushed + 3);
              pushed += 3;
            } else if (what === 'ack') answer(0, 'ack');
            else if (what === 'nack' || what === 'return') answer(0, what);
            else if (what === 'ackAll') while (unanswered.length > 0) answer(0, 'ack');
            else if (what === 'ackLast') answer(unanswered.length - 1, 'ack');
            else if (what === 'cut') {
              // What was sent reached the queue as a prefix, its confirms did not reach us.
              const lost = new Set(unanswered.slice(Math.ceil(unanswered.length / 2)));
              queue = queue.filter((it) => !lost.has(it));
              unanswered = [];
              port.listener!.closed({ kind: 'connection', code: undefined, reason: 'cut' });
            } else await new Promise((resolve) => setTimeout(resolve, 2));
            collect();
          }
          push(pushed, pushed + 1);
          pushed += 1;
          const done = (): boolean => ledger.watermark(0)?.ts.increment === pushed - 1;
          await until(() => {
            collect();
            while (unanswered.length > 0) {
              answer(0, 'ack');
              collect();
            }
            return done();
          });
          lane.close();
          const last = [...new Set(queue.map(({ id }) => id).toReversed())].toReversed();
          assert.deepEqual(last, ids(0, pushed));
        },
      ),
      { numRuns: 40 },
    );
  });
});
