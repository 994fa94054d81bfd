import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeText, hexText, latin1Text } from '../../src/worker/bson.ts';

const piece = fc.oneof(
  fc.uint8Array({ maxLength: 6 }),
  fc.string({ unit: 'binary' }).map((text) => new Uint8Array(Buffer.from(text))),
  fc.constantFrom(Uint8Array.of(0xef, 0xbb, 0xbf), Uint8Array.of(0xed, 0xa0, 0x80), Uint8Array.of(0xf0, 0x9f, 0x98)),
);

test('text is read as a TextDecoder reads it, whatever the bytes are, and wherever they lie', () => {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 8 }), fc.nat(5), fc.nat(5), (pieces, before, behind) => {
      const all = new Uint8Array(Buffer.concat([new Uint8Array(3), ...pieces, new Uint8Array(3)]));
      const bytes = all.subarray(2);
      const end = Math.max(before, bytes.length - behind);
      const part = bytes.slice(before, end);
      assert.equal(decodeText(bytes, before, end), decoder.decode(part));
      assert.equal(latin1Text(bytes, before, end), String.fromCharCode(...part));
      assert.equal(hexText(bytes, before, end), Buffer.from(part).toString('hex'));
    }),
    { numRuns: 5_000 },
  );
});
