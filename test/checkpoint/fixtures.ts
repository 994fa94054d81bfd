/** What the tests of the data folder share: folders that vanish, records that differ by a number, children to kill. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { TestContext } from 'node:test';
import type { CheckpointRecord, ParkedRecord } from '../../src/checkpoint/record.ts';
import type { Log } from '../../src/observe/log.ts';

export async function temporaryFolder(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'tailrace-test-'));
  t.after(() => rm(path, { recursive: true, force: true }));
  return path;
}

/** Of a stopped engine whose source cannot be reached; its data folder is `data`, beside it. */
const CONFIG = `
sources:
  shop: { uri: "mongodb://127.0.0.1:1/?replicaSet=rs0" }
subscriptions:
  - { name: orders, namespaces: ["shop.orders"], to: stdout }
checkpoint: { path: ./data }
`;

/** The path of a configuration file in a folder of its own. */
export async function configured(t: TestContext): Promise<string> {
  const config = join(await temporaryFolder(t), 'tailrace.yaml');
  await writeFile(config, CONFIG);
  return config;
}

export interface RecordedLog extends Log {
  readonly lines: string[];
}

export function recordedLog(): RecordedLog {
  const lines: string[] = [];
  const write =
    (level: string) =>
    (...parts: unknown[]): void => {
      lines.push(`${level}: ${String(parts.at(-1))}`);
    };
  return { lines, error: write('error'), warn: write('warn'), info: write('info'), debug: write('debug') };
}

export function checkpoint(subscription: string, seconds: number): CheckpointRecord {
  return {
    version: 1,
    subscription,
    source: 'shop',
    replicaSetId: '64f0c0ffee0000000000beef',
    resume: { kind: 'after', ts: { seconds, increment: 7 }, t: 3 },
    watermark: { ts: { seconds, increment: 4_294_967_295 }, t: 3, index: 2 },
    lanes: [{ ts: { seconds, increment: 1 }, index: 0 }, undefined, { ts: { seconds, increment: 9 }, index: 5 }],
    routing: 'r1',
    layout: 'l1',
    partitions: 3,
    partitionQueues: false,
    updatedAt: 1_790_000_000_000,
  };
}

export function parked(id: string, overrides: Partial<ParkedRecord> = {}): ParkedRecord {
  return {
    subscription: 'orders',
    id,
    ns: 'shop.orders',
    reason: 'undecodable',
    detail: 'a field is cut off',
    at: 1_790_000_000_000,
    payloadKind: 'entry',
    payload: Buffer.from(`payload of ${id}`),
    ...overrides,
  };
}

/** A child that runs `code` (TypeScript, with `CHECKPOINT` as the sources' folder) and prints lines; `line` waits for one. */
export function startChild(t: TestContext, code: string): Child {
  const folder = fileURLToPath(new URL('../../src/checkpoint/', import.meta.url));
  const source = code.replaceAll('CHECKPOINT', folder.replace(/\/$/, ''));
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', source], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  return new Child(child);
}

export class Child {
  readonly process: ChildProcess;
  readonly #exited: Promise<void>;
  #text = '';
  #changed: () => void = () => undefined;

  constructor(process: ChildProcess) {
    this.process = process;
    this.#exited = new Promise((resolve) => process.once('exit', () => resolve()));
    process.stdout?.on('data', (chunk: Buffer) => {
      this.#text += chunk.toString();
      this.#changed();
    });
  }

  /** Everything it printed until now. */
  get text(): string {
    return this.#text;
  }

  async line(wanted: string): Promise<void> {
    while (!this.#text.split('\n').slice(0, -1).includes(wanted)) {
      if (this.process.exitCode !== null) throw new Error(`the child ended; it had printed: ${this.#text}`);
      await new Promise<void>((resolve) => {
        this.#changed = resolve;
        void this.#exited.then(resolve);
      });
    }
  }

  /** SIGKILL; resolves when it is gone. */
  async kill(): Promise<void> {
    this.process.kill('SIGKILL');
    await this.#exited;
  }
}
