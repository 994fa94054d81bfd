/**
 * Where an event stands, out of the resume token that is a change event's `_id`: its cluster time and its number within a
 * transaction. Read apart from the engine's own reader of tokens, as the comparison leans on it.
 *
 * `_data` is hexadecimal of the server's order-preserving encoding of (cluster time, version, token type, number in the
 * transaction, …): 0x82 and the time's eight bytes; then whole numbers: 0x29 for zero, 0x2b with one byte that holds twice
 * the number, 0x2c with two bytes, and so on.
 */
export interface EventPlace {
  readonly seconds: number;
  readonly increment: number;
  readonly index: number;
}

export function placeInToken(data: string): EventPlace {
  const bytes = Buffer.from(data, 'hex');
  if (bytes[0] !== 0x82) throw new Error(`a resume token that does not begin with a time: ${data}`);
  let at = 9;
  const number = (): number => {
    const kind = bytes[at++]!;
    if (kind === 0x29) return 0;
    const length = kind - 0x2a;
    if (length < 1 || length > 6) throw new Error(`a resume token with no number at ${at - 1}: ${data}`);
    const doubled = bytes.readUIntBE(at, length);
    at += length;
    return Math.floor(doubled / 2);
  };
  // The version; with version 0 the token's type is not there.
  if (number() > 0) number();
  return { seconds: bytes.readUInt32BE(1), increment: bytes.readUInt32BE(5), index: number() };
}
