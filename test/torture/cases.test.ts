import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CASES } from './cases/index.ts';
import type { TortureCase } from './case.ts';

/** As docs/torture.md has it. */
function promised({ end, name, versionsOf }: TortureCase): TortureCase['versionsOf'] {
  switch (end) {
    case 'MongoDB':
    case 'RabbitMQ':
      return end;
    case 'network':
      return name.includes('RabbitMQ') ? 'RabbitMQ' : undefined;
    case 'engine':
    case 'data':
      return versionsOf;
  }
}

test('the cases of a server, and those of the network on the way to RabbitMQ, run again on its other versions', () => {
  assert.ok(CASES.some(({ end, name }) => end === 'network' && name.includes('RabbitMQ')));
  for (const one of CASES) assert.equal(one.versionsOf, promised(one), `${one.end}: ${one.name}`);
});
