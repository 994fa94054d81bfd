import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OptionFault, scenario } from '../../bench/scenario.ts';

const OPTIONS = {
  entries: { type: 'number', default: 5, words: '' },
  only: { type: 'names', words: '' },
  against: { type: 'text', words: '' },
  fast: { type: 'flag', words: '' },
} as const;

async function optionsOf(...args: string[]): Promise<object> {
  const it = scenario({ words: '', minutes: 1, options: OPTIONS, run: async () => ({}) });
  return (await it.run(args)).options;
}

test("a scenario's options have their types, and their defaults where they are not given", async () => {
  assert.deepEqual(await optionsOf(), { entries: 5, only: [], against: undefined, fast: false });
  assert.deepEqual(await optionsOf('--entries', '1e6', '--only', 'a,b', '--against', 'x.js', '--fast'), {
    entries: 1_000_000,
    only: ['a', 'b'],
    against: 'x.js',
    fast: true,
  });
});

test('an option that a scenario does not know, or a value that is no number, is a fault of the command line', async () => {
  await assert.rejects(optionsOf('--rounds', '3'), OptionFault);
  await assert.rejects(optionsOf('--entries', 'many'), OptionFault);
});
