/**
 * A connection to mongod that sends commands as bytes and returns replies as bytes: the workload writes what a driver would
 * refuse, and the server's own events are seen as the server sent them. One command at a time.
 */
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { deserialize } from 'bson';
import type { Document } from 'bson';
import { encode } from './bson.ts';

const OP_MSG = 2013;

export class Wire implements AsyncDisposable {
  readonly #socket: Socket;
  #chunks: Buffer[] = [];
  #length = 0;
  #request = 0;
  #waiting: { readonly resolve: (reply: Buffer) => void; readonly reject: (error: Error) => void } | undefined;
  #failed: Error | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('error', (error) => this.#fail(error));
    socket.on('close', () => this.#fail(new Error('mongod has closed the connection')));
  }

  /** To the first host of a URI. */
  static async open(uri: string): Promise<Wire> {
    const { host, port } = /^mongodb:\/\/(?<host>[^:,/]+):(?<port>\d+)/.exec(uri)!.groups as Record<string, string>;
    const socket = connect({ host: host!, port: Number(port), noDelay: true });
    await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    return new Wire(socket);
  }

  /** The reply's document, whatever it says. */
  raw(db: string, command: object): Promise<Buffer> {
    if (this.#failed) return Promise.reject(this.#failed);
    if (this.#waiting) throw new Error('one command at a time');
    const body = encode(command);
    // `$db` goes behind all else: the last byte of the document is opened again for it.
    const name = Buffer.from(`${db}\0`);
    const tail = Buffer.alloc(1 + 4 + 4 + name.length + 1);
    tail[0] = 2;
    tail.write('$db\0', 1);
    tail.writeInt32LE(name.length, 5);
    name.copy(tail, 9);
    const head = Buffer.alloc(21);
    head.writeInt32LE(21 + body.length - 1 + tail.length, 0);
    head.writeInt32LE((this.#request = (this.#request + 1) & 0x7fff_ffff), 4);
    head.writeInt32LE(OP_MSG, 12);
    body.writeInt32LE(body.length - 1 + tail.length, 0);
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      this.#socket.write(Buffer.concat([head, body.subarray(0, -1), tail]));
    });
  }

  async command(db: string, command: object): Promise<Document> {
    return deserialize(await this.raw(db, command), { promoteLongs: false, bsonRegExp: true });
  }

  /** Throws what the server says against it. */
  async run(db: string, command: object): Promise<Document> {
    const reply = await this.command(db, command);
    if (reply['ok'] !== 1) throw new Error(`${Object.keys(command)[0]}: ${String(reply['errmsg'])}`);
    return reply;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#length += chunk.length;
    if (this.#length < 16) return;
    if (this.#chunks[0]!.length < 4) this.#chunks = [Buffer.concat(this.#chunks)];
    const wanted = this.#chunks[0]!.readInt32LE(0);
    if (this.#length < wanted) return;
    const message = this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks);
    this.#chunks = [];
    this.#length = 0;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    // Header, flags, and the kind of the one section.
    waiting?.resolve(message.subarray(21));
  }

  #fail(error: Error): void {
    this.#failed ??= error;
    this.#waiting?.reject(this.#failed);
    this.#waiting = undefined;
  }
}
