/** One direction of a proxied connection: bytes come in, wait as long as they must, and leave in order. */
import type { Socket } from 'node:net';

export interface Slowness {
  /** Every byte takes so long. */
  readonly delayMs?: number;
  /** A chunk is late by `lateMs`, and all behind it, with this probability. */
  readonly lateChance?: number;
  readonly lateMs?: number;
  readonly bytesPerSecond?: number;
}

export interface OneWayOptions {
  readonly slowness: () => Slowness | undefined;
  readonly filter: ((bytes: Buffer) => Buffer) | undefined;
  /** So many bytes pass, then `onLimit` is called. */
  readonly limit: () => number;
  readonly onLimit: () => void;
}

/** What may wait here before the sender is slowed down: little on a narrow link, as it would be under way there. */
const NARROW_BYTES = 16 * 1024;
const WIDE_BYTES = 4 * 2 ** 20;
/** A narrow link sends its bytes in pieces of so long. */
const PIECE_S = 0.05;

interface Waiting {
  readonly bytes: Buffer;
  dueAt: number;
}

export class OneWay {
  readonly #from: Socket;
  readonly #into: Socket;
  readonly #o: OneWayOptions;
  readonly #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #lastDueAt = 0;
  #passed = 0;
  #timer: NodeJS.Timeout | undefined;
  #paused = false;
  #blocked = false;
  #ended = false;

  constructor(from: Socket, into: Socket, options: OneWayOptions) {
    this.#from = from;
    this.#into = into;
    this.#o = options;
    from.setNoDelay(true);
    from.on('data', (bytes: Buffer) => this.#take(options.filter ? options.filter(bytes) : bytes));
    from.on('end', () => {
      this.#ended = true;
      this.#send();
    });
    // Its closing follows.
    from.on('error', () => {});
    into.on('drain', () => {
      this.#blocked = false;
      this.#send();
    });
  }

  pause(): void {
    this.#paused = true;
    this.#flow();
  }

  resume(): void {
    this.#paused = false;
    this.#send();
  }

  /** What waits goes now. */
  hurry(): void {
    for (const one of this.#waiting) one.dueAt = 0;
    this.#lastDueAt = 0;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#send();
  }

  /** Nothing more comes, nothing more goes. */
  end(): void {
    clearTimeout(this.#timer);
    this.#waiting.length = 0;
  }

  #take(bytes: Buffer): void {
    const slowness = this.#o.slowness();
    const { delayMs = 0, lateChance = 0, lateMs = 0, bytesPerSecond = Infinity } = slowness ?? {};
    const now = performance.now();
    const piece = bytesPerSecond === Infinity ? bytes.length : Math.max(1, Math.floor(bytesPerSecond * PIECE_S));
    const late = lateChance > 0 && Math.random() < lateChance ? lateMs : 0;
    for (let at = 0; at < bytes.length; at += piece) {
      const some = bytes.subarray(at, at + piece);
      const sentAt = Math.max(this.#lastDueAt, now + delayMs + late);
      this.#lastDueAt = sentAt + (some.length / bytesPerSecond) * 1_000;
      this.#waiting.push({ bytes: some, dueAt: this.#lastDueAt });
    }
    this.#waitingBytes += bytes.length;
    this.#send();
  }

  #send(): void {
    while (!this.#paused && !this.#blocked && this.#waiting.length > 0) {
      const { bytes, dueAt } = this.#waiting[0]!;
      const waitMs = dueAt - performance.now();
      if (waitMs > 0) {
        this.#timer ??= setTimeout(() => {
          this.#timer = undefined;
          this.#send();
        }, waitMs);
        break;
      }
      this.#waiting.shift();
      this.#waitingBytes -= bytes.length;
      this.#write(bytes);
    }
    if (this.#ended && this.#waiting.length === 0) this.#into.end();
    this.#flow();
  }

  #write(bytes: Buffer): void {
    const room = this.#o.limit() - this.#passed;
    this.#passed += bytes.length;
    if (bytes.length < room) {
      if (!this.#into.write(bytes)) this.#blocked = true;
      return;
    }
    this.#into.write(bytes.subarray(0, Math.max(0, room)), this.#o.onLimit);
    this.#blocked = true;
    this.#waiting.length = 0;
  }

  #flow(): void {
    const most = this.#o.slowness()?.bytesPerSecond === undefined ? WIDE_BYTES : NARROW_BYTES;
    if (this.#paused || this.#blocked || this.#waitingBytes >= most) this.#from.pause();
    else this.#from.resume();
  }
}
