import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { latin1, mayMeet, meet, pathTree } from '../../src/worker/path-rules.ts';

const part = fc.constantFrom('a', 'ab', 'b', 'é', '0', '12', '1a', '', '_id', '$x');
const text = fc.array(part, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('.'));

test('no name that meets a path is passed over by its first byte', () => {
  let passedOver = 0;
  fc.assert(
    fc.property(fc.array(text, { minLength: 1, maxLength: 3 }), text, text, fc.boolean(), (paths, above, name, top) => {
      const root = [pathTree(paths.map((path) => ({ path, action: 0 })))];
      const inside = top ? undefined : meet(root, latin1(above), true);
      const places = inside?.kind === 'above' ? inside.places : root;
      const asText = latin1(name);
      if (asText === '' || mayMeet(places, asText.charCodeAt(0), places === root)) return;
      passedOver++;
      assert.equal(meet(places, asText, places === root).kind, 'apart');
    }),
    { numRuns: 5_000 },
  );
  assert.ok(passedOver > 500, `${passedOver}`);
});
