import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Binary, serialize } from 'bson';
import { adaptedTo, lanesHold, opTimeOfToken, parseResumeToken } from '../../src/source/resume-token.ts';
import type { ResumePoint } from '../../src/source/position.ts';

/** As servers wrote them. */
const EVENT = '826B0619DC0000000A2B022C0100296E5A100408870AECF89049E4B105C6C3EA26827C461E5F696400290004';
const INSIDE = '826B0619DC0000000C2B022C01002B046E5A100408870AECF89049E4B105C6C3EA26827C461E5F6964002B080004';
const INVALIDATE = '826B0619EB000000012B022C0100296F5A100474BC309F5DD546D8B0410371FA03A93304';
const HIGH_WATER = '826B0619DC0000000A2B0229296E04';
const VERSION_2 =
  '826B0619E7000000052B042C0100296E5A1004D08481B0C0CD403797DB5ED992DF7DDA463C6F7065726174696F6E54797065003C7265706C6163650046646F' +
  '63756D656E744B657900461E5F6964002B0200002B0204';
const HIGH_WATER_2 = '826B0619E7000000052B0429296E1404';

test('a token of either version says where its event stands', () => {
  const at = { seconds: 0x6b0619dc, increment: 10, event: true, index: 0, fromInvalidate: false };
  assert.deepEqual(parseResumeToken(EVENT), at);
  assert.deepEqual(parseResumeToken(INSIDE), { ...at, increment: 12, index: 2 });
  assert.deepEqual(parseResumeToken(VERSION_2), { ...at, seconds: 0x6b0619e7, increment: 5 });
  assert.deepEqual(parseResumeToken(INSIDE.toLowerCase()), { ...at, increment: 12, index: 2 });
});

test('an invalidate and a high-water mark are told apart from events', () => {
  assert.equal(parseResumeToken(INVALIDATE)?.fromInvalidate, true);
  assert.equal(parseResumeToken(HIGH_WATER)?.event, false);
  assert.equal(parseResumeToken(HIGH_WATER_2)?.event, false);
});

test('an index of any size is read', () => {
  for (const [hex, index] of [
    ['2BFE', 127],
    ['2C0100', 128],
    ['2C7FFE', 16_383],
    ['2D030D40', 100_000],
    ['2EFFFFFFFE', 2_147_483_647],
  ] as const) {
    assert.equal(parseResumeToken(`826B0619DC0000000C2B022C0100${hex}6E04`)?.index, index);
  }
});

test('what is no token, however it is cut, gives nothing and never throws', () => {
  // Behind fromInvalidate nothing is looked at.
  for (let length = 0; length < '826B0619DC0000000A2B022C0100296E'.length; length++) {
    assert.equal(parseResumeToken(EVENT.slice(0, length)), undefined, EVENT.slice(0, length));
  }
  for (const text of [
    '',
    'zz',
    `83${EVENT.slice(2)}`,
    EVENT.replace('2B02', 'XX02'),
    EVENT.replace('2B022C', '29022C'),
  ]) {
    assert.equal(parseResumeToken(text), undefined, text);
  }
});

test('a token is kept with its type bits, and a high-water mark has done nothing of its time', () => {
  const bits = Buffer.from([0x82, 1]);
  const document = serialize({ _data: INSIDE, _typeBits: new Binary(bits) });
  const ts = { seconds: 0x6b0619dc, increment: 12 };
  const token = { data: INSIDE, typeBits: bits.toString('base64'), index: 2, watch: 'shop' };
  assert.deepEqual(opTimeOfToken(document, 'shop'), { ts, t: -1, token });
  assert.equal(opTimeOfToken(serialize({ _data: HIGH_WATER }), 'shop').token.index, -1);
  assert.throws(() => opTimeOfToken(serialize({ _data: 'no' }), 'shop'), /not known/);
});

test('a point goes on as it is in the stream it came from, and as a boundary everywhere else', () => {
  const ts = { seconds: 7, increment: 3 };
  const token: ResumePoint = { kind: 'token', ts, token: { data: INSIDE, index: 2, watch: 'shop' } };
  const after: ResumePoint = { kind: 'after', ts, t: 1 };
  const from: ResumePoint = { kind: 'from', ts };
  assert.equal(adaptedTo('shop', token), token);
  assert.deepEqual(adaptedTo('shop.orders', token), from);
  assert.deepEqual(adaptedTo(undefined, token), from);
  assert.deepEqual(adaptedTo('shop', after), from);
  assert.equal(adaptedTo(undefined, after), after);
  assert.equal(adaptedTo('shop', from), from);
  assert.equal(adaptedTo(undefined, from), from);
});

test('what lanes had done ahead of a point does not hold for what only another `watch` shows', () => {
  const ts = { seconds: 7, increment: 3 };
  const of = (watch: string): ResumePoint => ({ kind: 'token', ts, token: { data: INSIDE, index: 2, watch } });
  const all = ['*'];
  assert.equal(lanesHold('shop', of('shop'), all), true);
  assert.equal(lanesHold('shop', of('shop.orders'), ['shop.*']), false);
  assert.equal(lanesHold('shop', of('shop.orders'), ['shop.orders']), true);
  assert.equal(lanesHold(undefined, of('shop'), all), false);
  assert.equal(lanesHold(undefined, of('deployment'), all), true);
  assert.equal(lanesHold('shop', of('deployment'), all), true);
  assert.equal(lanesHold('shop', { kind: 'after', ts, t: 1 }, all), true);
  // Nothing but what was watched is wanted.
  assert.equal(lanesHold('deployment', of('shop'), ['shop.*', '!shop.log', 'shop.x']), true);
  assert.equal(lanesHold('deployment', of('shop'), ['shop.*', 'shops.*']), false);
  assert.equal(lanesHold('deployment', of('shop'), ['sho*']), false);
});
