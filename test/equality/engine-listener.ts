/**
 * The engine as it is, in this process: it tails the oplog, its worker encodes, its lanes deliver – to a file of BSON
 * documents, which is read as it grows.
 */
import { mkdtemp, open, rm } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Timestamp } from 'bson';
import { tailConfig } from '../../src/config/tail-config.ts';
import { Engine } from '../../src/engine.ts';
import type { EngineOptions } from '../../src/engine.ts';
import { createLog } from '../../src/observe/log.ts';
import { elementsOf } from './bson.ts';
import type { EventPlace } from './resume-token.ts';
import { kindOf } from './server-listener.ts';
import type { ListenedEvent } from './server-listener.ts';

const DATA = ['insert', 'update', 'replace', 'delete'] as const;
/** What change streams show of commands to everybody, and what they show with `showExpandedEvents`. */
const COMMANDS = ['drop', 'dropDatabase', 'rename'] as const;
const EXPANDED_COMMANDS = ['create', 'createIndexes', 'dropIndexes', 'modify'] as const;

const CHANGE_STREAM = {
  watch: 'deployment',
  fullDocument: 'default',
  fullDocumentBeforeChange: 'off',
  onOversizeEvent: 'stop',
} as const;

/** How it reads; it takes turns, a restart each, where there are several. */
export type Mode = EngineOptions['config']['sources'][number]['mode'];

type Checkpoints = EngineOptions['stores']['checkpoints'];
type Parking = EngineOptions['stores']['parking'];

export interface EngineListenerOptions {
  readonly uri: string;
  readonly after: Timestamp;
  readonly ddl: boolean;
  readonly expanded: boolean;
  readonly modes?: readonly Mode[];
}

export class EngineListener implements AsyncDisposable {
  readonly #folder: string;
  readonly #options: EngineListenerOptions;
  readonly #path: string;
  /** Outlives an engine, so that one can be stopped and another go on. */
  readonly #stores: EngineOptions['stores'];
  /** What was set aside since it was last asked for, in words. */
  #parked: string[] = [];
  #file: FileHandle | undefined;
  #offset = 0;
  #rest: Buffer = Buffer.alloc(0);
  #starts = 0;
  #stop = new AbortController();
  #engine: Engine | undefined;
  #running: Promise<unknown> | undefined;
  #failure: unknown;

  private constructor(folder: string, options: EngineListenerOptions) {
    this.#folder = folder;
    this.#options = options;
    this.#path = join(folder, 'events.bson');
    this.#stores = { checkpoints: keptInMemory(), parking: this.#parking() };
  }

  static async open(options: EngineListenerOptions): Promise<EngineListener> {
    const folder = await mkdtemp(join(tmpdir(), 'tailrace-equality-'));
    const listener = new EngineListener(folder, options);
    listener.start();
    return listener;
  }

  start(): void {
    const { uri, after, ddl, expanded, modes = ['oplog'] } = this.#options;
    const mode = modes[this.#starts++ % modes.length]!;
    const operations = [...DATA, ...(ddl ? COMMANDS : []), ...(ddl && expanded ? EXPANDED_COMMANDS : [])];
    const { t, i } = after;
    const base = tailConfig({ uri, namespaces: [], from: `${t}:${i}`, format: 'bson' });
    const config: EngineOptions['config'] = {
      ...base,
      sources: base.sources.map((source) => ({
        ...source,
        mode,
        ...(mode === 'changeStream' && { changeStream: CHANGE_STREAM }),
      })),
      subscriptions: base.subscriptions.map((subscription) => ({
        ...subscription,
        operations,
        expanded,
        to: { kind: 'file', path: this.#path },
      })),
      // Several lanes, as in life: events of different collections may pass each other on their way to the file.
      pipeline: { ...base.pipeline, workers: { least: 1, most: 1 }, partitions: 4 },
      shutdownTimeoutMs: 30_000,
    };
    this.#stop = new AbortController();
    this.#engine = new Engine({ config, stores: this.#stores, log: createLog('error'), version: 'test' });
    this.#running = this.#engine.run(this.#stop.signal).catch((error: unknown) => (this.#failure = error));
  }

  /** Waits for what is under way, as SIGTERM does. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async restart(): Promise<void> {
    await this.stop();
    this.start();
  }

  /** All events up to this place; they come in the order of each collection, so they are put into the oplog's. */
  async upTo(place: EventPlace): Promise<{ events: ListenedEvent[]; parked: readonly string[] }> {
    const deadline = Date.now() + 120_000;
    while (!this.#passed(place)) {
      if (this.#failure !== undefined) throw this.#failure;
      if (Date.now() > deadline) {
        throw new Error(
          `the engine does not get to ${JSON.stringify(place)}: ${JSON.stringify(this.#engine?.status())}`,
        );
      }
      await sleep(5);
    }
    const events = await this.#read();
    const parked = this.#parked;
    this.#parked = [];
    return { events: events.toSorted((a, b) => comparePlaces(a.place, b.place)), parked };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await this.#file?.close();
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** The watermark: everything below is confirmed, which for a file means written. */
  #passed(place: EventPlace): boolean {
    const watermark = Object.values(this.#engine!.status().subscriptions)[0]?.watermark;
    if (typeof watermark !== 'string') return false;
    const [seconds = 0, increment = 0] = watermark.split(':').map(Number);
    return comparePlaces({ seconds, increment, index: place.index }, place) >= 0;
  }

  async #read(): Promise<ListenedEvent[]> {
    this.#file ??= await open(this.#path, 'r');
    const { size } = await this.#file.stat();
    const bytes = Buffer.alloc(size - this.#offset);
    await this.#file.read(bytes, 0, bytes.length, this.#offset);
    this.#offset = size;
    const all = Buffer.concat([this.#rest, bytes]);
    const events: ListenedEvent[] = [];
    let at = 0;
    while (at + 4 <= all.length && at + all.readInt32LE(at) <= all.length) {
      const event = all.subarray(at, at + all.readInt32LE(at));
      events.push({ bytes: event, place: placeOf(event), kind: kindOf(event) });
      at += event.length;
    }
    this.#rest = all.subarray(at);
    return events;
  }

  #parking(): Parking {
    return {
      put: async (parked) => {
        this.#parked.push(inWords(parked));
      },
      failing: undefined,
      shortage: undefined,
      totalBytes: 0,
      count: () => 0,
    };
  }
}

function inWords(parked: unknown): string {
  return JSON.stringify(parked, (_, value: unknown) => (value instanceof Uint8Array ? `${value.length} bytes` : value));
}

function keptInMemory(): Checkpoints {
  const records = new Map<string, unknown>();
  return {
    get: (name: string) => records.get(name),
    put: async (batch: readonly { subscription: string }[]) => {
      for (const record of batch) records.set(record.subscription, structuredClone(record));
    },
    flushed: async () => {},
    addGap: async () => {},
    gaps: () => [],
  } as unknown as Checkpoints;
}

export function comparePlaces(a: EventPlace, b: EventPlace): number {
  return a.seconds - b.seconds || a.increment - b.increment || a.index - b.index;
}

/** Out of our `_id`: source:seconds.increment.index. */
function placeOf(event: Uint8Array): EventPlace {
  const id = elementsOf(event).find(({ name }) => name === '_id')!;
  const text = Buffer.from(id.bytes.subarray(4, -1)).toString();
  const [seconds = NaN, increment = NaN, index = NaN] = text
    .slice(text.indexOf(':') + 1)
    .split('.')
    .map(Number);
  return { seconds, increment, index };
}
