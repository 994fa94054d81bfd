import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readableLine } from '../../src/terminal/readable-log.ts';
import { styleOf, terminalKind } from '../../src/terminal/style.ts';

const style = styleOf(false);
const at = new Date(2026, 10, 22, 6, 6, 5).toISOString();

function line(fields: object): string {
  return readableLine(`${JSON.stringify({ level: 'info', time: at, ...fields })}\n`, style);
}

test('a line has the time here, the level, the message and its fields', () => {
  assert.equal(
    line({ url: 'http://127.0.0.1:9464', names: ['a', 'b'], why: 'two words', msg: 'Listening.' }),
    '06:06:05 info  Listening. url=http://127.0.0.1:9464 names=["a","b"] why="two words"\n',
  );
});

test('a code is named, and the cause of a warning', () => {
  assert.equal(
    line({
      level: 'warn',
      code: 'sink-away',
      err: { message: 'ECONNREFUSED', stack: 'at x' },
      msg: 'The broker is away.',
    }),
    '06:06:05 warn  The broker is away. (ECONNREFUSED) [sink-away]\n',
  );
});

test('the last line of a run that failed says the next step, and the stack of what nobody foresaw', () => {
  const said = line({
    level: 'fatal',
    code: 'unexpected',
    err: { message: 'boom', stack: 'Error: boom\n  at x' },
    msg: 'Failed.',
  });
  assert.equal(
    said,
    '06:06:05 fatal Failed. (boom) [unexpected]\nError: boom\n  at x\n               `tailrace explain unexpected` says more.\n',
  );
});

test('what a server says moves no cursor and makes no line of its own', () => {
  const said = line({ msg: 'it says \x1b[2J\nINFO all is well', detail: 'a\u009b1A\nb' });
  assert.equal(said, '06:06:05 info  it says  [2J INFO all is well detail="a 1A b"\n');
});

test('what is no JSON goes as it is', () => {
  assert.equal(readableLine('oh\n', style), 'oh\n');
});

test('colours are for terminals that have them, whose user did not object', () => {
  const terminal = { isTTY: true };
  const kind = (env: NodeJS.ProcessEnv, stream: { isTTY?: boolean } = terminal) => {
    const { colours, redraws } = terminalKind(stream, env);
    return [colours, redraws];
  };
  assert.deepEqual(kind({ TERM: 'xterm' }), [true, true]);
  assert.deepEqual(kind({ TERM: 'xterm', NO_COLOR: '1' }), [false, false]);
  assert.deepEqual(kind({ TERM: 'dumb' }), [false, false]);
  assert.deepEqual(kind({}), [false, false]);
  assert.deepEqual(kind({ TERM: 'xterm', CI: 'true' }), [true, false]);
  assert.deepEqual(kind({ TERM: 'xterm' }, {}), [false, false]);
  assert.equal(styleOf(true).bad('x'), '\x1b[31mx\x1b[39m');
});
