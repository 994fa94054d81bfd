/** Documents that no driver writes, sent to mongod as the bytes they are. */
import { randomInt } from 'node:crypto';
import { connect } from 'node:net';
import { once } from 'node:events';
import { deserialize, serialize } from 'bson';

const HEADER_BYTES = 16;
const OP_MSG = 2_013;

/** Inserts them in one command; throws what the server says against it. `uri` names one member first, a primary. */
export async function insertRaw(uri: string, ns: string, documents: readonly Uint8Array[]): Promise<void> {
  const [, host = '', port = ''] = /\/\/(?<host>[^:/]+):(?<port>\d+)/.exec(uri) ?? [];
  const [db, ...rest] = ns.split('.');
  const command = serialize({ insert: rest.join('.'), $db: db, ordered: true });
  const sequence = [Buffer.from('documents\0'), ...documents];
  const sequenceBytes = 4 + sequence.reduce((sum, part) => sum + part.byteLength, 0);
  const length = HEADER_BYTES + 4 + 1 + command.byteLength + 1 + sequenceBytes;
  const header = Buffer.alloc(HEADER_BYTES + 4);
  for (const [place, value] of [length, randomInt(2 ** 31), 0, OP_MSG, 0].entries())
    header.writeInt32LE(value, place * 4);
  const size = Buffer.alloc(4);
  size.writeInt32LE(sequenceBytes);
  const socket = connect(Number(port), host);
  try {
    await once(socket, 'connect');
    socket.write(Buffer.concat([header, Buffer.from([0]), command, Buffer.from([1]), size, ...sequence]));
    let reply = Buffer.alloc(0);
    while (reply.length < 4 || reply.length < reply.readInt32LE(0)) {
      const [chunk] = (await once(socket, 'data')) as [Buffer];
      reply = Buffer.concat([reply, chunk]);
    }
    const answer = deserialize(reply.subarray(HEADER_BYTES + 5));
    if (answer['ok'] !== 1 || answer['writeErrors'] !== undefined) throw new Error(JSON.stringify(answer));
  } finally {
    socket.destroy();
  }
}
