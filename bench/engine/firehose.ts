/**
 * A server that speaks just enough of MongoDB's wire protocol for the real driver and the real engine, and whose oplog never ends: it
 * serves one recording from memory over and over, with `ts` counting on. A process of its own, so that its work is not the
 * engine's; per reply that work is a `ts` an entry, and a write.
 *
 *     firehose.ts                          prints {"port": …} once it listens; SIGTERM ends it
 */
import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { BSON, Binary, Long, ObjectId, Timestamp } from 'bson';
import type { Document } from 'bson';
import { record } from './recording.ts';

const OP_REPLY = 1;
const OP_QUERY = 2_004;
const OP_MSG = 2_013;
const HEADER = 16;
/** Header, flags, the section's kind. */
const BEFORE_BODY = 21;

/** As many as the engine ever asks for. */
const ENTRIES = 20_000;
const ENTRIES_A_SECOND = 10_000;
const FIRST_SECOND = Math.floor(Date.now() / 1_000);
const TERM = Long.fromNumber(1);
const SET_NAME = 'firehose';
const REPLICA_SET_ID = new ObjectId();

const recording = record(ENTRIES);
/** The furthest that any cursor has come. */
let newest = 0;

function tsOf(entry: number): Timestamp {
  return new Timestamp({
    t: FIRST_SECOND + Math.floor(entry / ENTRIES_A_SECOND),
    i: (entry % ENTRIES_A_SECOND) + 1,
  });
}

/** The first entry at or behind it. */
function entryAt(ts: Timestamp): number {
  return Math.max(0, (ts.t - FIRST_SECOND) * ENTRIES_A_SECOND + Math.max(0, ts.i - 1));
}

/**
 * What a cursor is read through. Its bytes are its own: they are written to with the next `getMore`, when nothing of the reply
 * before is under way any more, or the client could not have asked.
 */
class Cursor {
  readonly id: Long;
  readonly #front: Buffer;
  readonly #elements = Buffer.from(recording.elements);
  #next: number;

  constructor(id: number, next: number) {
    this.id = Long.fromNumber(id);
    this.#next = next;
    // What comes before the array's elements, lengths still to be filled in.
    this.#front = Buffer.alloc(BEFORE_BODY);
  }

  reply(name: 'firstBatch' | 'nextBatch', wanted: number, answering: number): Buffer[] {
    const entries = Math.max(1, Math.min(wanted, ENTRIES));
    const bytes = recording.ends[entries - 1]!;
    this.#count(entries);
    const array = Buffer.alloc(4 + 1 + name.length + 1 + 4);
    array.writeUInt8(4, 4);
    array.write(name, 5, 'latin1');
    array.writeInt32LE(4 + bytes + 1, 4 + 1 + name.length + 1);
    // The fields behind the array, of which a document's length in front and its end are cut off.
    const rest = BSON.serialize({ id: this.id, ns: 'local.oplog.rs' }).subarray(4);
    const cursorBytes = array.byteLength + bytes + 1 + rest.byteLength;
    array.writeInt32LE(cursorBytes, 0);
    const behind = BSON.serialize({ ok: 1, ...clusterTime() }).subarray(4);
    const cursorName = Buffer.from('\x03cursor\0', 'latin1');
    const bodyBytes = 4 + cursorName.byteLength + cursorBytes + behind.byteLength;
    const front = this.#front;
    putHeader(front, { length: BEFORE_BODY + bodyBytes, answering, code: OP_MSG });
    const length = Buffer.alloc(4);
    length.writeInt32LE(bodyBytes, 0);
    return [
      Buffer.concat([front, length, cursorName, array]),
      this.#elements.subarray(0, bytes),
      Buffer.concat([Buffer.alloc(1), rest, behind]),
    ];
  }

  #count(entries: number): void {
    const { timestamps } = recording;
    for (let index = 0; index < entries; index++) {
      const entry = this.#next + index;
      const at = timestamps[index]!;
      this.#elements.writeUInt32LE((entry % ENTRIES_A_SECOND) + 1, at);
      this.#elements.writeUInt32LE(FIRST_SECOND + Math.floor(entry / ENTRIES_A_SECOND), at + 4);
    }
    this.#next += entries;
    newest = Math.max(newest, this.#next - 1);
  }
}

const cursors = new Map<string, Cursor>();
let address = '';

const server = createServer({ noDelay: true }, (socket) => {
  let unread = Buffer.alloc(0);
  socket.on('data', (chunk) => {
    unread = Buffer.concat([unread, chunk]);
    while (unread.byteLength >= HEADER && unread.byteLength >= unread.readInt32LE(0)) {
      const length = unread.readInt32LE(0);
      serve(socket, unread.subarray(0, length));
      unread = unread.subarray(length);
    }
  });
  // A client that goes away has its reasons.
  socket.on('error', () => {});
});

server.listen(0, '127.0.0.1', () => {
  const { port } = server.address() as AddressInfo;
  address = `127.0.0.1:${port}`;
  console.log(JSON.stringify({ port, averageEntryBytes: recording.elements.byteLength / ENTRIES }));
});
process.on('SIGTERM', () => process.exit(0));

function serve(socket: Socket, message: Buffer): void {
  const answering = message.readInt32LE(4);
  switch (message.readInt32LE(12)) {
    case OP_QUERY: {
      // Only the very first hello: flags, the collection's name, two numbers, the command.
      const body = message.indexOf(0, HEADER + 4) + 1 + 8;
      socket.write(oldReply(answering, BSON.serialize(answer(BSON.deserialize(message.subarray(body))))));
      return;
    }
    case OP_MSG: {
      const command = BSON.deserialize(message.subarray(BEFORE_BODY), { promoteLongs: false });
      const batch = batchFor(command, answering);
      socket.cork();
      for (const part of batch ?? [plainReply(answering, BSON.serialize(answer(command)))]) socket.write(part);
      socket.uncork();
      return;
    }
    default:
      socket.destroy();
  }
}

function batchFor(command: Document, answering: number): Buffer[] | undefined {
  const wanted = Number(command['batchSize'] ?? 101);
  if (command['getMore'] !== undefined) {
    return cursors.get(String(command['getMore']))?.reply('nextBatch', wanted, answering);
  }
  if (command['find'] !== 'oplog.rs' || command['tailable'] !== true) return undefined;
  const from: unknown = command['filter']?.ts?.$gte;
  const cursor = new Cursor(cursors.size + 1, from instanceof Timestamp ? entryAt(from) : 0);
  cursors.set(String(cursor.id), cursor);
  return cursor.reply('firstBatch', wanted, answering);
}

function answer(command: Document): Document {
  const [name = ''] = Object.keys(command);
  switch (name) {
    case 'hello':
    case 'ismaster':
    case 'isMaster':
      return hello();
    case 'ping':
    case 'endSessions':
      return { ok: 1 };
    case 'killCursors':
      return killed(command['cursors'] as Long[]);
    case 'buildInfo':
      return { version: '6.0.5', versionArray: [6, 0, 5, 0], ok: 1 };
    case 'listDatabases':
      return { databases: [], totalSize: 0, ok: 1 };
    case 'listCollections':
      return found([]);
    case 'find':
      return found(looked(command));
    case 'getMore':
      return { ok: 0, code: 43, codeName: 'CursorNotFound', errmsg: 'there is no such cursor' };
    default:
      return { ok: 0, code: 59, codeName: 'CommandNotFound', errmsg: `no such command: '${name}'` };
  }
}

/** Without `topologyVersion`, so that the driver asks again and again rather than to wait for news. */
function hello(): Document {
  const opTime = { ts: tsOf(newest), t: TERM };
  return {
    helloOk: true,
    ismaster: true,
    isWritablePrimary: true,
    secondary: false,
    setName: SET_NAME,
    setVersion: 1,
    hosts: [address],
    primary: address,
    me: address,
    electionId: REPLICA_SET_ID,
    lastWrite: { opTime, lastWriteDate: new Date(), majorityOpTime: opTime, majorityWriteDate: new Date() },
    maxBsonObjectSize: 16 * 2 ** 20,
    maxMessageSizeBytes: 48_000_000,
    maxWriteBatchSize: 100_000,
    localTime: new Date(),
    logicalSessionTimeoutMinutes: 30,
    minWireVersion: 0,
    maxWireVersion: 17,
    readOnly: false,
    ok: 1,
    ...clusterTime(),
  };
}

/** It lies in the reply's own memory, and the driver sends it back: whoever gives that memory away is found out. */
function clusterTime(): Document {
  const signature = { hash: new Binary(Buffer.alloc(20)), keyId: Long.ZERO };
  return { $clusterTime: { clusterTime: tsOf(newest), signature }, operationTime: tsOf(newest) };
}

/** The resume check's oldest entry, the first at or behind a `ts`, and the set's id. */
function looked({ find, filter }: Document): Document[] {
  if (find === 'system.replset') return [{ _id: SET_NAME, settings: { replicaSetId: REPLICA_SET_ID } }];
  if (find !== 'oplog.rs') return [];
  const from: unknown = filter?.ts?.$gte;
  return [{ ts: from instanceof Timestamp ? tsOf(entryAt(from)) : tsOf(0), t: TERM }];
}

function found(firstBatch: Document[]): Document {
  return { cursor: { firstBatch, id: Long.ZERO, ns: 'local.oplog.rs' }, ok: 1, ...clusterTime() };
}

function killed(ids: readonly Long[]): Document {
  for (const id of ids) cursors.delete(String(id));
  return { cursorsKilled: ids, cursorsNotFound: [], cursorsAlive: [], cursorsUnknown: [], ok: 1 };
}

interface Header {
  readonly length: number;
  readonly answering: number;
  readonly code: number;
}

function putHeader(buffer: Buffer, { length, answering, code }: Header): void {
  buffer.writeInt32LE(length, 0);
  buffer.writeInt32LE(answering, 8);
  buffer.writeInt32LE(code, 12);
}

function plainReply(answering: number, body: Uint8Array): Buffer {
  const front = Buffer.alloc(BEFORE_BODY);
  putHeader(front, { length: BEFORE_BODY + body.byteLength, answering, code: OP_MSG });
  return Buffer.concat([front, body]);
}

/** Flags (8: it can await), no cursor, from the first, one document. */
function oldReply(answering: number, body: Uint8Array): Buffer {
  const front = Buffer.alloc(HEADER + 20);
  putHeader(front, { length: front.byteLength + body.byteLength, answering, code: OP_REPLY });
  front.writeInt32LE(8, HEADER);
  front.writeInt32LE(1, HEADER + 16);
  return Buffer.concat([front, body]);
}
