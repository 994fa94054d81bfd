/**
 * How a replayed event says that it comes out of its order. Over AMQP a header does; a file and standard output have nothing but
 * the event itself, so there it is its last field.
 */
import type { Format } from '../config/config.ts';

export const REPLAYED_HEADER = { 'x-tailrace-replayed': 'true' } as const;

const FIELD = Buffer.from(',"replayed":true');
/** BSON: type boolean, name, value. */
const ELEMENT = Buffer.from('\x08replayed\0\x01', 'latin1');
const LINE_FEED = 0x0a;
const CLOSING_BRACE = 0x7d;

/** Of every event in the body, be they lines of JSON or documents of BSON one behind the other. */
export function markedBody(body: Buffer, format: Format): Buffer {
  return Buffer.concat(format === 'bson' ? [...documents(body)].map(markedDocument) : [...lines(body)].map(markedLine));
}

function* lines(body: Buffer): Generator<Buffer> {
  for (let from = 0; from < body.length;) {
    const feed = body.indexOf(LINE_FEED, from);
    const to = feed < 0 ? body.length : feed + 1;
    yield body.subarray(from, to);
    from = to;
  }
}

function markedLine(line: Buffer): Buffer {
  const end = line.lastIndexOf(CLOSING_BRACE);
  return end < 0 ? line : Buffer.concat([line.subarray(0, end), FIELD, line.subarray(end)]);
}

function* documents(body: Buffer): Generator<Buffer> {
  for (let from = 0; from < body.length;) {
    const to = from + body.readInt32LE(from);
    yield body.subarray(from, to);
    from = to;
  }
}

function markedDocument(document: Buffer): Buffer {
  const marked = Buffer.concat([document.subarray(0, -1), ELEMENT, document.subarray(-1)]);
  marked.writeInt32LE(marked.length, 0);
  return marked;
}
