/** Of what a broker sends to an engine, everything but its confirms, whenever they are to be swallowed. */

/** Type (1 byte), channel (2), size (4) in front of a frame's payload, and one byte behind it. */
const HEADER_BYTES = 7;
const METHOD = 1;
const BASIC = 60;
const ACK = 80;

export class WithoutConfirms {
  swallowed = false;

  /** For the bytes of one connection. */
  link(): (bytes: Buffer) => Buffer {
    let rest: Buffer = Buffer.alloc(0);
    return (bytes) => {
      rest = Buffer.concat([rest, bytes]);
      const passed: Buffer[] = [];
      while (rest.length >= HEADER_BYTES) {
        const end = HEADER_BYTES + rest.readUInt32BE(3) + 1;
        if (rest.length < end) break;
        const frame = rest.subarray(0, end);
        if (!this.swallowed || !isAck(frame)) passed.push(frame);
        rest = rest.subarray(end);
      }
      return Buffer.concat(passed);
    };
  }
}

function isAck(frame: Buffer): boolean {
  return (
    frame[0] === METHOD && frame.readUInt16BE(HEADER_BYTES) === BASIC && frame.readUInt16BE(HEADER_BYTES + 2) === ACK
  );
}
