/**
 * Standard output, or a file that grows: a message is a line (or, for BSON, a document), and counts as confirmed once the
 * operating system has taken it. A process that is killed may leave a torn last line; the next one begins on a line of its
 * own, and the torn event comes again whole.
 */
import { createWriteStream } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Writable } from 'node:stream';
import type { LaneMessage, LanePort, OpenPort, PortListener } from '../lanes/port.ts';

const NEWLINE = Buffer.from('\n');

export type StreamTarget = { readonly kind: 'stdout' } | { readonly kind: 'file'; readonly path: string };

export class StreamSink {
  readonly #target: StreamTarget;
  #stream: Promise<Writable> | undefined;
  readonly #ports = new Set<StreamPort>();

  constructor(target: StreamTarget) {
    this.#target = target;
  }

  /** `lines`: messages that do not end in a line feed get one. */
  lanePort({ lines }: { lines: boolean }): LanePort {
    return {
      open: async (listener) => {
        const stream = await this.#opened(lines);
        const port = new StreamPort(stream, listener, lines, () => this.#ports.delete(port));
        this.#ports.add(port);
        return port;
      },
      mend: async () => {},
    };
  }

  async close(): Promise<void> {
    const stream = await this.#stream?.catch(() => undefined);
    if (!stream || this.#target.kind === 'stdout') return;
    await new Promise<void>((resolve) => stream.end(resolve));
  }

  async #opened(lines: boolean): Promise<Writable> {
    this.#stream ??= this.#openStream(lines);
    try {
      return await this.#stream;
    } catch (error) {
      this.#stream = undefined;
      throw error;
    }
  }

  async #openStream(lines: boolean): Promise<Writable> {
    const stream = this.#target.kind === 'stdout' ? process.stdout : await openFile(this.#target.path, lines);
    stream.on('drain', () => {
      for (const port of this.#ports) port.drained();
    });
    stream.on('error', (error: Error) => {
      this.#stream = undefined;
      for (const port of this.#ports) port.failed(error);
    });
    return stream;
  }
}

async function openFile(path: string, lines: boolean): Promise<Writable> {
  const file = await open(path, 'a+');
  const { size } = await file.stat();
  // Between documents of BSON a line feed would be the damage that it mends between lines.
  if (lines && size > 0) {
    const { buffer } = await file.read(Buffer.alloc(1), 0, 1, size - 1);
    if (buffer[0] !== NEWLINE[0]) await file.appendFile(NEWLINE);
  }
  return createWriteStream(path, { fd: file, flags: 'a' });
}

class StreamPort implements OpenPort {
  readonly #stream: Writable;
  readonly #listener: PortListener;
  readonly #lines: boolean;
  readonly #onClose: () => void;
  #tag = 0;
  #full = false;
  #open = true;

  constructor(stream: Writable, listener: PortListener, lines: boolean, onClose: () => void) {
    this.#stream = stream;
    this.#listener = listener;
    this.#lines = lines;
    this.#onClose = onClose;
  }

  get ready(): boolean {
    return this.#open && !this.#full;
  }

  publish(message: LaneMessage): void {
    const tag = ++this.#tag;
    const { body } = message;
    const whole = this.#lines && body.at(-1) !== NEWLINE[0] ? Buffer.concat([body, NEWLINE]) : body;
    const accepted = this.#stream.write(whole, (error) => {
      if (!error && this.#open) this.#listener.confirmed(tag, false);
    });
    if (!accepted) this.#full = true;
  }

  drained(): void {
    this.#full = false;
    this.#listener.writable();
  }

  prepare(): undefined {
    return undefined;
  }

  failed(error: Error): void {
    if (!this.#open) return;
    this.close();
    this.#listener.closed({ kind: 'channel', code: undefined, reason: error.message });
  }

  close(): void {
    this.#open = false;
    this.#onClose();
  }
}
