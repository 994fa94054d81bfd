/** The list of those who race in `end-to-end`: what each is configured as, in which groups it runs, and what bare publisher imitates it. */
import { PARTITIONS, baseline, tailrace } from './contenders.ts';
import type { QueueType, TailraceOptions } from './contenders.ts';
import type { Entrant } from './contest.ts';

export interface Listed extends Entrant {
  readonly groups: readonly string[];
}

/** `core` is what runs when nothing is named. */
export const GROUPS: readonly string[] = ['core', 'queues', 'hot', 'documents', 'message-size', 'baselines'];

/** Events a message, where it is batched. */
export const MANY = 200;

interface Builds {
  /** Another build's cli.js. */
  readonly against: string | undefined;
  readonly nodeFlags: readonly string[];
}

export function entrants({ against, nodeFlags }: Builds): Listed[] {
  const engines = [...oneEventAMessage(), ...manyEvents(), ...documents(), ...messageSizes()];
  return [
    { contender: baseline('json'), groups: ['core', 'queues', 'baselines'] },
    { contender: baseline('ejson'), groups: ['baselines'] },
    ...engines.flatMap(({ groups, bare, ...options }): Listed[] => {
      const { name, words } = options;
      const other = { ...options, name: `${name}~other`, words: `${words}; ${against}`, cli: against, nodeFlags };
      const own = { contender: tailrace({ ...options, nodeFlags }), groups, bare };
      return against === undefined ? [own] : [{ contender: tailrace(other), groups }, own];
    }),
  ];
}

type Engine = TailraceOptions & Omit<Listed, 'contender'>;

function perPartition(name: string, queueType: QueueType) {
  return {
    name,
    kind: 'orders',
    queueType,
    queues: Array.from({ length: PARTITIONS }, (_, p) => `bench.${name}.${p}`),
    subscription: { to: { queue: `bench.${name}.{partition}`, queueType } },
  } as const;
}

const BY_DOCUMENT = { partitionBy: [{ namespaces: ['*'], key: 'document' }] };

function oneEventAMessage(): Engine[] {
  const usual = { pace: 'middling', framing: 'one' } as const;
  const single = 'bench.quorum-exchange';
  return [
    ...(['classic', 'quorum', 'stream'] as const).map((type): Engine => ({
      ...perPartition(type, type),
      ...usual,
      words: `1 event a message, JSON, a ${type} queue per partition`,
      groups: [...(type === 'stream' ? [] : ['core']), ...(type === 'classic' ? ['hot'] : []), 'queues'],
      bare: { name: `bare-${type}`, queueType: type },
    })),
    {
      ...usual,
      name: 'quorum-exchange',
      words: '1 event a message, JSON, topic exchange, one quorum queue',
      kind: 'orders',
      queueType: 'quorum',
      queues: [single],
      subscription: { to: { exchange: single, queues: [{ name: single, type: 'quorum', bind: '#' }] } },
      groups: ['queues'],
      bare: { name: 'bare-quorum-one', queueType: 'quorum', queueCount: 1 },
    },
    {
      ...perPartition('hot', 'classic'),
      ...usual,
      kind: 'hot',
      pipeline: BY_DOCUMENT,
      words: '1 event a message, JSON, one hot collection partitioned by document',
      groups: ['hot'],
    },
  ];
}

function manyEvents(): Engine[] {
  const usual = { pace: 'fast', framing: 'lines' } as const;
  const batched = (name: string, type: QueueType, events = MANY) => {
    const { subscription, ...rest } = perPartition(name, type);
    const batch = { maxEvents: events, maxBytes: '1MiB' };
    return { ...rest, ...usual, subscription: { ...subscription, batch } };
  };
  const bson = batched(`classic-${MANY}-bson`, 'classic');
  return [
    ...(['classic', 'quorum', 'stream'] as const).map((type) => ({
      ...batched(`${type}-${MANY}`, type),
      words: `${MANY} events a message, JSON lines, a ${type} queue per partition`,
      groups: type === 'classic' ? ['core', 'queues', 'hot', 'message-size'] : ['queues'],
    })),
    {
      ...bson,
      words: `${MANY} events a message, BSON, a classic queue per partition`,
      framing: 'bson',
      subscription: { ...bson.subscription, format: 'bson' },
      groups: ['core'],
    },
    {
      ...batched(`hot-${MANY}`, 'classic'),
      kind: 'hot',
      pipeline: BY_DOCUMENT,
      words: `${MANY} events a message, JSON lines, one hot collection partitioned by document`,
      groups: ['hot'],
    },
  ];
}

/** Other sizes of documents; the middling ones are those of all other contenders. */
function documents(): Engine[] {
  const kinds = [
    ['small', 'documents of 150 B'],
    ['20k', 'documents of 20 KB'],
    ['1m', 'documents of 1 MB'],
  ] as const;
  return kinds.flatMap(([kind, of]): Engine[] => {
    const many = perPartition(`${kind}-${MANY}`, 'classic');
    return [
      {
        ...perPartition(kind, 'classic'),
        kind,
        pace: 'middling',
        framing: 'one',
        words: `1 event a message, JSON, ${of}`,
        groups: ['documents'],
        bare: { name: `bare-${kind}`, queueType: 'classic' },
      },
      {
        ...many,
        kind,
        pace: 'fast',
        framing: 'lines',
        subscription: { ...many.subscription, batch: { maxEvents: MANY, maxBytes: '1MiB' } },
        words: `up to ${MANY} events or 1 MiB a message, JSON lines, ${of}`,
        groups: ['documents'],
      },
    ];
  });
}

function messageSizes(): Engine[] {
  return [10, 50, 1_000, 5_000].map((events): Engine => {
    const name = `classic-${events}`;
    const { subscription, ...rest } = perPartition(name, 'classic');
    return {
      ...rest,
      pace: events < MANY ? 'middling' : 'fast',
      framing: 'lines',
      subscription: { ...subscription, batch: { maxEvents: events, maxBytes: '8MiB' } },
      words: `${thousands(events)} events a message, JSON lines, a classic queue per partition`,
      groups: ['message-size'],
    };
  });
}

function thousands(value: number): string {
  return value.toLocaleString('en');
}
