import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parse } from 'yaml';
import { readConfig } from '../../src/config/load.ts';
import { starterFile } from '../../src/terminal/starter-file.ts';
import type { StarterAnswers } from '../../src/terminal/starter-file.ts';

const plain: StarterAnswers = {
  mongodb: 'mongodb://db1:27017,db2/?replicaSet=rs0&tls=true',
  amqp: 'amqp://localhost',
  namespaces: ['shop.*', '!shop.tmp_*'],
  to: { exchange: 'changes' },
};

test('what was answered is what the file says, under names that come from it', async () => {
  const { text, variables, source } = starterFile(plain);
  assert.deepEqual(variables, {});
  assert.equal(source, 'shop');
  assert.match(text, /^ {4}uri: mongodb:\/\/db1:27017,db2\/\?replicaSet=rs0&tls=true # a replica set/m);
  const { sources, sinks, subscriptions, http } = await readConfig(parse(text) as object, {});
  assert.deepEqual([sources[0]!.name, sources[0]!.uri], ['shop', plain.mongodb]);
  assert.deepEqual([sinks[0]!.name, sinks[0]!.uri], ['rabbit', plain.amqp]);
  assert.equal(subscriptions[0]!.name, 'changes');
  assert.deepEqual(subscriptions[0]!.namespaces, plain.namespaces);
  assert.equal(http?.port, 9464);
});

test('a URI with a secret goes to the environment, one that is a placeholder stays one', async () => {
  const mongodb = 'mongodb://me:pa%24s$w0rd@db1/?replicaSet=rs0';
  const { text, variables } = starterFile({ ...plain, mongodb, amqp: '${RABBIT}' });
  assert.deepEqual(variables, { MONGODB_URI: mongodb });
  assert.doesNotMatch(text, /w0rd/);
  const { sources, sinks } = await readConfig(parse(text) as object, { ...variables, RABBIT: 'amqp://there' });
  assert.equal(sources[0]!.uri, mongodb);
  assert.equal(sinks[0]!.uri, 'amqp://there');
});

test('whatever names there are, the file says just those, and no secret is in it', async () => {
  const letters = fc.stringMatching(/^[\p{L}\p{N}_.:#&*!'" -]{1,20}$/u).filter((text) => text.trim() === text);
  const name = letters.filter((text) => !text.startsWith('amq.'));
  const pattern = letters.map((text) => `db.${text.replaceAll('!', '')}x`);
  const to = fc.oneof(fc.record({ exchange: name }), fc.record({ queue: name }));
  const secret = fc.stringMatching(/^[a-z]{12}$/);
  await fc.assert(
    fc.asyncProperty(
      fc.array(pattern, { minLength: 1, maxLength: 3 }),
      to,
      secret,
      async (namespaces, where, password) => {
        const amqp = `amqp://user:${password}@host/v%2Fhost`;
        const { text, variables } = starterFile({ ...plain, namespaces, to: where, amqp });
        assert.ok(!text.includes(password));
        const { subscriptions } = await readConfig(parse(text) as object, variables);
        const { namespaces: read, to: there } = subscriptions[0]!;
        assert.deepEqual(read, namespaces);
        if ('exchange' in where) assert.ok(there.kind === 'exchange' && there.exchange === where.exchange);
        else assert.equal(there.kind, 'queue');
      },
    ),
  );
});
