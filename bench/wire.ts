/**
 * The least that a program can do with MongoDB's wire protocol: it sends a command as OP_MSG and reads the reply into one
 * buffer, over and over, looking at the front of it only. Nothing that reads an oplog can be faster than this, so it is what
 * readers are held against. No login, no TLS: for servers of our own.
 */
import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { BSON } from 'bson';
import type { Document, Long } from 'bson';

const OP_MSG = 2_013;
/** Header, flags and the kind of the one section. */
const BEFORE_BODY = 21;
const READ_BYTES = 256 * 1024;

export class Wire implements Disposable {
  readonly #socket: Socket;
  /** The front of the reply, as far as it is looked at; undefined: from here on bytes are only counted. */
  #head: Buffer[] = [];
  #wantsAll = false;
  #expected = 0;
  #received = 0;
  #headBytes = 0;
  #requests = 0;
  #done: ((bytes: number) => void) | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
  }

  static async connect(host: string, port: number): Promise<Wire> {
    const buffer = Buffer.allocUnsafe(READ_BYTES);
    // Nothing comes before something was sent.
    const callback = (bytes: number): boolean => {
      wire.#take(buffer.subarray(0, bytes));
      return true;
    };
    const socket = connect({ host, port, noDelay: true, onread: { buffer, callback } });
    const wire = new Wire(socket);
    await once(socket, 'connect');
    return wire;
  }

  /** The reply, decoded. */
  async command(command: Document): Promise<Document> {
    this.#wantsAll = true;
    await this.#send(command);
    return BSON.deserialize(Buffer.concat(this.#head).subarray(BEFORE_BODY));
  }

  /** How many bytes the reply had; they are gone. */
  async discard(command: Document): Promise<number> {
    this.#wantsAll = false;
    return this.#send(command);
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }

  #send(command: Document): Promise<number> {
    const body = BSON.serialize(command);
    const message = Buffer.alloc(BEFORE_BODY + body.byteLength);
    message.writeInt32LE(message.byteLength, 0);
    message.writeInt32LE((this.#requests += 1), 4);
    message.writeInt32LE(OP_MSG, 12);
    message.set(body, BEFORE_BODY);
    this.#head = [];
    this.#headBytes = 0;
    this.#received = 0;
    this.#expected = 0;
    return new Promise((resolve) => {
      this.#done = resolve;
      this.#socket.write(message);
    });
  }

  #take(chunk: Buffer): void {
    if (this.#wantsAll || this.#headBytes < 4) {
      this.#head.push(Buffer.from(this.#wantsAll ? chunk : chunk.subarray(0, 4)));
      this.#headBytes += this.#head.at(-1)!.byteLength;
      if (this.#expected === 0 && this.#headBytes >= 4) this.#expected = Buffer.concat(this.#head).readInt32LE(0);
    }
    this.#received += chunk.byteLength;
    if (this.#expected > 0 && this.#received >= this.#expected) this.#done?.(this.#received);
  }
}

/** A tailable cursor over the oplog from its oldest entry on; the id is what `getMore` asks with. */
export async function openOplog(wire: Wire, options: Document = {}): Promise<Long> {
  const reply = await wire.command({
    find: 'oplog.rs',
    filter: {},
    tailable: true,
    batchSize: 1,
    ...options,
    $db: 'local',
  });
  if (reply['ok'] !== 1) throw new Error(`the server refuses the cursor: ${String(reply['errmsg'])}`);
  return BSON.Long.fromValue(reply['cursor'].id);
}

export function getMore(id: Long, batchSize: number): Document {
  return { getMore: id, collection: 'oplog.rs', batchSize, $db: 'local' };
}
