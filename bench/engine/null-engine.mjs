/**
 * The built engine, whole (feed, workers, lanes, ledger, checkpoints), with a sink that takes every message and confirms it
 * in the next turn. A process of its own and plain JavaScript: neither tsx nor the bench is in what is measured.
 * The bench asks over IPC what has come so far.
 *
 *     null-engine.mjs CONFIG_JSON
 */
import process from 'node:process';
import { CheckpointStore } from '../../dist/checkpoint/store.js';
import { ParkingStore } from '../../dist/checkpoint/parking.js';
import { readConfig } from '../../dist/config/load.js';
import { Engine } from '../../dist/engine.js';

const count = { events: 0, messages: 0, bytes: 0 };
/** Ports with messages that wait for their confirm. */
let waiting = [];

const confirmAll = () => {
  const ports = waiting;
  waiting = [];
  for (const confirm of ports) confirm();
};

/** One for all lanes: each opens its own way through it. */
const nullPort = {
  open: async (listener) => {
    let taken = 0;
    let asked = false;
    const confirm = () => {
      asked = false;
      listener.confirmed(taken, true);
    };
    return {
      ready: true,
      publish: ({ body, events }) => {
        taken += 1;
        count.messages += 1;
        count.events += events;
        count.bytes += body.length;
        if (asked) return;
        asked = true;
        if (waiting.length === 0) setImmediate(confirmAll);
        waiting.push(confirm);
      },
      prepare: () => undefined,
      close: () => {},
    };
  },
  mend: async () => {},
};

const read = await readConfig(JSON.parse(process.argv[2]), {});
const toNowhere = { kind: 'port', port: nullPort, letsGo: true };
const config = { ...read, sinks: [], subscriptions: read.subscriptions.map((it) => ({ ...it, to: toNowhere })) };
const log = { debug() {}, info() {}, warn: complain, error: complain };
const { path } = config.checkpoint;
const checkpoints = await CheckpointStore.open({ path, log });
const parking = await ParkingStore.open({ path, maxBytes: config.parked.maxBytes, log });
const engine = new Engine({ config, stores: { checkpoints, parking }, log, version: 'bench' });
const stop = new AbortController();

process.on('message', () => process.send({ ...count, atMs: performance.now(), threads: engine.threads.length }));
process.on('SIGTERM', () => stop.abort());
await engine.run(stop.signal);
await checkpoints[Symbol.asyncDispose]();
await parking[Symbol.asyncDispose]();
if (process.connected) process.disconnect();

function complain(fields, words) {
  console.error(words ?? fields, words === undefined ? '' : fields);
}
