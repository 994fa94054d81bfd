/**
 * The one list of settings: what `tailrace.yaml` may hold, each with its description and its default as it is written.
 * Every leaf carries, as its error, the words for what is expected there; what needs two settings at once is in checks.ts.
 */
import { z } from 'zod';
import { craftShape } from './craft-schema.ts';
import { choice, flag, fromText, template, text, written } from './leaves.ts';
import { MAX_AMQP_MESSAGE_BYTES, MAX_SHORT_STRING } from './limits.ts';
import { OPERATIONS } from './operations.ts';
import { patternFault } from './patterns.ts';
import { START_EXPECTED, parseStart } from './start.ts';
import { TEMPLATE_NAMES } from './templates.ts';
import { formatBytes, formatDuration, parseBytes, parseDuration } from './units.ts';
import type { Parsed } from './units.ts';

const SECOND = 1_000;
const HOUR = 3_600 * SECOND;
const KIB = 2 ** 10;
const MIB = 2 ** 20;
const TIB = 2 ** 40;

export const NAME = /^[A-Za-z0-9_-]+$/;
export const NAME_EXPECTED = 'a name of letters, digits, _ and -';

function size(min: number, max: number) {
  return written((value) => {
    const parsed = parseBytes(value);
    if (!parsed.ok || (parsed.value >= min && parsed.value <= max)) return parsed;
    return { ok: false, expected: `a size from ${formatBytes(min)} to ${formatBytes(max)}` };
  });
}

function duration(minMs: number, maxMs: number) {
  return written((value) => {
    const parsed = parseDuration(value);
    if (!parsed.ok || (parsed.value >= minMs && parsed.value <= maxMs)) return parsed;
    return { ok: false, expected: `a time from ${formatDuration(minMs)} to ${formatDuration(maxMs)}` };
  });
}

function count(min: number, max: number) {
  const error = `a whole number from ${min} to ${max}`;
  return z.preprocess(fromText, z.int({ error }).min(min, { error }).max(max, { error }));
}

function uri(schemes: readonly string[]) {
  const error = `a URI that begins with ${schemes.map((scheme) => `${scheme}://`).join(' or ')}`;
  return z
    .string({ error })
    .refine((value) => schemes.some((scheme) => value.startsWith(`${scheme}://`) && value.length > scheme.length + 3), {
      error,
    })
    .refine((value) => !value.startsWith('amqp') || URL.canParse(value), {
      error: `${error}; a user or password with one of : / ? # [ ] @ % in it has to be percent-encoded (@ is %40)`,
    });
}

/** A name in AMQP: of an exchange or a queue. */
function amqpName(what: string) {
  const error = `the name of ${what}, at most ${MAX_SHORT_STRING} bytes`;
  return text(error)
    .refine((value) => Buffer.byteLength(value) <= MAX_SHORT_STRING, { error })
    .refine((value) => !/[{}]/.test(value), { error: `the name of ${what} as it is: no {…} here` });
}

export function patterns() {
  const pattern = z
    .string({ error: 'a pattern in quotes, such as "shop.orders", "shop.*" or "!shop.tmp_*"' })
    .superRefine((value, context) => {
      const fault = patternFault(value);
      if (fault !== undefined) context.addIssue({ code: 'custom', message: fault });
    });
  return z
    .array(pattern)
    .min(1, { error: 'at least one pattern' })
    .refine((list) => list.length === 0 || list.some((one) => !one.startsWith('!')), {
      error: 'at least one pattern that includes something: these only exclude (add "*" to mean everything else)',
    });
}

const start = written((value) => {
  const parsed = typeof value === 'string' ? parseStart(value) : undefined;
  if (parsed !== undefined) return { ok: true, value: parsed };
  return {
    ok: false,
    expected: START_EXPECTED,
  };
});

const listen = written((value): Parsed<{ host: string; port: number } | undefined> => {
  if (value === 'off' || value === false) return { ok: true, value: undefined };
  const match = typeof value === 'string' ? /^(\[[0-9A-Fa-f:.]+\]|[^\s:[\]/]+):(\d{1,5})$/.exec(value) : null;
  const port = Number(match?.[2]);
  if (match === null || port > 65_535) return { ok: false, expected: '"host:port", such as 127.0.0.1:9464, or off' };
  return { ok: true, value: { host: (match[1] ?? '').replaceAll(/[[\]]/g, ''), port } };
});

const detachAfter = written((value): Parsed<number | undefined> => {
  if (value === 'off' || value === false) return { ok: true, value: undefined };
  const parsed = parseDuration(value);
  if (parsed.ok && parsed.value >= SECOND && parsed.value <= 24 * HOUR) return parsed;
  return { ok: false, expected: `a time from ${formatDuration(SECOND)} to ${formatDuration(24 * HOUR)}, or off` };
});

const workers = written((found): Parsed<number | 'auto'> => {
  const value = fromText(found);
  const sound = value === 'auto' || (typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 64);
  return sound ? { ok: true, value } : { ok: false, expected: 'auto, or a whole number from 1 to 64' };
});

const queueType = choice('classic', 'quorum', 'stream');
const queueArguments = z
  .record(z.string(), z.unknown())
  .refine((table) => !Object.hasOwn(table, 'x-queue-type'), {
    error: 'no x-queue-type here: the type is a setting of its own',
  })
  .prefault({});

export const WATCHED = /^[^\s.$"\\/]{1,63}(?:\.[^\s$][^\s]*)?$/;
export const watchError = 'deployment, the name of a database, or "database.collection"';

const FULL_DOCUMENT = ['default', 'updateLookup', 'whenAvailable', 'required'] as const;
const FULL_DOCUMENT_BEFORE = ['off', 'whenAvailable', 'required'] as const;

const changeStreamSchema = z
  .strictObject({
    watch: z.string({ error: watchError }).regex(WATCHED, { error: watchError }).default('deployment').meta({
      description:
        'What the change stream is opened on: deployment, a database, or "db.coll"; less needs fewer rights.',
    }),
    fullDocument: choice(...FULL_DOCUMENT)
      .default('default')
      .meta({
        description: 'The document after an update, as in any change stream.',
      }),
    fullDocumentBeforeChange: choice(...FULL_DOCUMENT_BEFORE)
      .default('off')
      .meta({
        description: 'The document before a change, as in any change stream (6.0).',
      }),
    onOversizeEvent: choice('park', 'stop').default('park').meta({
      description:
        'What to do with an event over 16 MB where the server cannot split it (before 6.0.9): set aside what is known, or stop.',
    }),
  })
  .prefault({});

const SHARE_EXPECTED = 'a number from 0 to 0.95';

const snapshotSchema = z
  .strictObject({
    parallel: count(1, 16).optional().meta({ description: 'Collections that are read at a time. Default: 2.' }),
    maxRate: count(1, 10_000_000).optional().meta({
      description: 'Documents per second at most. Default: as many as go.',
    }),
    share: z
      .number({ error: SHARE_EXPECTED })
      .min(0, { error: SHARE_EXPECTED })
      .max(0.95, { error: SHARE_EXPECTED })
      .optional()
      .meta({
        description:
          'While changes come as well, so much of the time is left to them between two pieces of a snapshot. Default: 0.5.',
      }),
  })
  .optional()
  .meta({ description: 'How snapshots are read (docs/snapshots.md).' });

export const sourceSchema = z.strictObject({
  uri: uri(['mongodb', 'mongodb+srv']).meta({
    description: 'The replica set; user and TLS options as in any MongoDB URI.',
  }),
  mode: choice('oplog', 'changeStream').default('oplog').meta({
    description: 'How changes are read: from the oplog, or from a change stream (docs/change-streams.md).',
  }),
  start: start.prefault('latest').meta({
    description:
      'Where to begin where there is no checkpoint: latest, snapshot (latest, and what is there already beside it: docs/snapshots.md), ' +
      'earliest, an ISO date (UTC where it names no zone), or "seconds:increment" for what came after it.',
  }),
  onPositionLost: choice('stop', 'earliest', 'latest', 'snapshot')
    .default('stop')
    .meta({
      description:
        'What to do when the position has left the oplog: stop with exit code 3, or go on and leave a gap record; `snapshot` goes on ' +
        'with the latest and reads everything anew.',
    }),
  snapshot: snapshotSchema,
  serverFilter: choice('on', 'off').default('off').meta({
    description: 'Let MongoDB leave out the changes of collections that no subscription matches (docs/reading.md).',
  }),
  changeStream: changeStreamSchema,
});

const pemFile = () => text('the path of a PEM file').optional();

const tlsSchema = z
  .strictObject({
    ca: pemFile().meta({
      description: "The authority that signed the broker's certificate, instead of those that Node.js trusts.",
    }),
    cert: pemFile().meta({ description: 'Our own certificate, where the broker wants one.' }),
    key: pemFile().meta({ description: "That certificate's private key." }),
    passphrase: text('a passphrase').optional().meta({ description: "The private key's passphrase: `${…}`." }),
    serverName: text('a host name').optional().meta({
      description: "The name in the broker's certificate, where the URI's host is another.",
    }),
    login: choice('password', 'certificate').default('password').meta({
      description: "Log in with the URI's user and password, or with our certificate (EXTERNAL).",
    }),
  })
  .prefault({});

export const sinkSchema = z.strictObject({
  uri: uri(['amqp', 'amqps']).meta({
    description: 'The RabbitMQ to deliver to; `amqps://` for TLS (docs/security.md).',
  }),
  tls: tlsSchema,
  declare: flag().default(true).meta({
    description: 'Declare exchanges, queues and bindings; false: only check that they are there.',
  }),
  lock: flag().default(true).meta({
    description: 'Refuse to deliver what another engine delivers to this broker (docs/security.md).',
  }),
  connections: count(1, 64)
    .default(4)
    .meta({ description: 'Connections that lanes are spread over; the broker slows each down to its slowest queue.' }),
  window: count(1, 10_000).default(256).meta({ description: 'Unconfirmed messages per lane.' }),
  heartbeat: duration(SECOND, HOUR).prefault('5s').meta({
    description:
      'How often both ends show that they are alive; whole seconds. Two missed ones end the connection. `?heartbeat=` in the URI goes before it.',
  }),
  confirmTimeout: duration(100, HOUR).prefault('30s').meta({
    description: 'No confirm for so long, and the connection is made anew.',
  }),
  maxMessageBytes: size(256, MAX_AMQP_MESSAGE_BYTES).prefault('16MiB').meta({
    description: "The broker's limit on a message's body; an event that needs more is parked.",
  }),
});

const queueSchema = z.strictObject({
  name: amqpName('a queue')
    .refine((name) => !name.startsWith('amq.'), {
      error: 'a name that does not begin with "amq.": RabbitMQ keeps those',
    })
    .meta({ description: 'The queue.' }),
  type: queueType.default('classic').meta({ description: "The queue's type." }),
  bind: z
    .string({ error: 'a binding key such as "shop.#"' })
    .refine((key) => Buffer.byteLength(key) <= MAX_SHORT_STRING, { error: `at most ${MAX_SHORT_STRING} bytes` })
    .default('#')
    .meta({ description: "The binding key; `*` stands for one of the routing key's words, `#` for any number." }),
  arguments: queueArguments.meta({ description: 'Further arguments of the queue.' }),
});

const destinationSchema = z.strictObject({
  sink: z.string({ error: 'the name of a sink' }).optional().meta({
    description: 'Which sink; may be left out where there is one.',
  }),
  exchange: amqpName('an exchange').optional().meta({ description: 'Publish to this durable topic exchange.' }),
  routingKey: template()
    .optional()
    .meta({
      description:
        `The routing key. It may hold ${TEMPLATE_NAMES}. ` +
        'Default: "{db}.{coll}.{operationType}", and "{db}.{coll}" where batch.maxEvents is more than 1.',
    }),
  queues: z.array(queueSchema).default([]).meta({
    description: 'Queues to declare and to bind to the exchange, so that nothing is unroutable on day one.',
  }),
  queue: template()
    .refine((name) => !name.startsWith('amq.'), {
      error: 'a name that does not begin with "amq.": RabbitMQ keeps those',
    })
    .optional()
    .meta({ description: 'Publish to this durable queue, through the default exchange. A template, like routingKey.' }),
  queueType: queueType.default('classic').meta({ description: "That queue's type." }),
  queueArguments: queueArguments.meta({
    description: 'Further arguments of that queue; they override what Tailrace sets.',
  }),
  stdout: flag().optional().meta({ description: 'Write to standard output (`to: stdout`); needs no broker.' }),
  file: text('the path of a file').optional().meta({ description: 'Append JSON lines to this file; needs no broker.' }),
});

export const subscriptionSchema = z.strictObject({
  name: z.string({ error: NAME_EXPECTED }).regex(NAME, { error: NAME_EXPECTED }).meta({
    description: "The subscription's name: its checkpoint, metrics and parked events carry it.",
  }),
  source: z.string({ error: 'the name of a source' }).optional().meta({
    description: 'Which source; may be left out where there is one.',
  }),
  namespaces: patterns().meta({
    description:
      'Patterns over "db.coll"; `*` stands for any characters, dots too; a `!` excludes, wherever it stands.',
  }),
  operations: z
    .array(choice(...OPERATIONS))
    .min(1, { error: 'at least one operation' })
    .default(['insert', 'update', 'replace', 'delete'])
    .meta({ description: 'Which operations; DDL only where it is named here.' }),
  expanded: flag()
    .default(false)
    .meta({
      description:
        "Events also carry what MongoDB's `showExpandedEvents` adds: `collectionUUID`, `disambiguatedPaths` where the server " +
        'has it, the full description of a rename; and what is done to views shows.',
    }),
  fullDocument: choice(...FULL_DOCUMENT)
    .default('default')
    .meta({
      description:
        'The document after an update, with `mode: oplog` (docs/whole-documents.md): updateLookup reads it when the update is delivered; ' +
        'whenAvailable and required make it of the pre-image.',
    }),
  fullDocumentBeforeChange: choice(...FULL_DOCUMENT_BEFORE)
    .default('off')
    .meta({
      description:
        "The document before an update, a replacement or a delete, from the server's pre-images (6.0), with `mode: oplog`; required holds the subscription where there is none.",
    }),
  images: choice('server', 'local')
    .default('server')
    .meta({
      description:
        "Where `whenAvailable` documents come from: the server's pre-images, or the last state of each document that Tailrace keeps in the data folder, of any server " +
        'version and without reading MongoDB (docs/whole-documents.md#images-of-its-own).',
    }),
  localImages: z
    .strictObject({
      maxSize: size(MIB, TIB).prefault('10GiB').meta({
        description:
          'What the documents kept for `images: local` may take on disk; once it is full, no further ones are kept.',
      }),
    })
    .prefault({}),
  format: choice('json', 'json-canonical', 'bson', 'debezium', 'cloudevents').default('json').meta({
    description: 'json is relaxed Extended JSON v2; see docs/formats-and-shaping.md for the others.',
  }),
  ...craftShape,
  batch: z
    .strictObject({
      maxEvents: count(1, 100_000).default(1).meta({
        description: 'Events in a message; with more than 1 a message is JSON lines, or BSON documents back to back.',
      }),
      maxBytes: size(1, MAX_AMQP_MESSAGE_BYTES).prefault('64KiB').meta({
        description: 'A message with several events takes no further one beyond this.',
      }),
      linger: duration(0, 60 * SECOND)
        .prefault('0ms')
        .meta({
          description: 'How long a message may wait for further events, at most.',
        }),
    })
    .prefault({})
    .meta({ description: 'More than one event a message.' }),
  order: choice('pipelined', 'strict').default('pipelined').meta({
    description: 'strict: one message under way per lane, so that first deliveries are in order after a refusal too.',
  }),
  transactions: flag().default(false).meta({
    description: 'Add `transactionBegin` and `transactionEnd` events, in each lane that carries any of a transaction.',
  }),
  snapshot: snapshotSchema,
  onUnroutable: choice('hold', 'park').default('hold').meta({
    description: 'What to do with a message that no queue takes: hold its lane and try again, or set its events aside.',
  }),
  allowOverlap: flag().default(false).meta({
    description: 'Another subscription may send the same changes to the same destination.',
  }),
  to: destinationSchema.meta({
    description: 'The destination: either `exchange`, `queue`, `file`, or stdout.',
  }),
});

/** What an `Authorization` header can carry; a shorter one can be found by trying. */
const TOKEN = /^[\x21-\x7e]{16,1024}$/;
const tokenError = 'a token of at least 16 printable characters, without blanks';

export const fileSchema = z.strictObject({
  management: choice('file', 'online')
    .default('file')
    .meta({
      description:
        'Where sources, sinks and subscriptions are managed: in this file, which holds at every start; or in a running engine, which keeps them, ' +
        'and takes them from this file only the first time and with `tailrace apply` (docs/managing.md). It needs `http.token`.',
    }),
  sources: z
    .record(z.string().regex(NAME), sourceSchema)
    .refine((sources) => Object.keys(sources).length > 0, { error: 'at least one source' })
    .meta({ description: "What is read: replica sets, under names of yours. They are in every event's `_id`." }),
  sinks: z.record(z.string().regex(NAME), sinkSchema).default({}).meta({
    description: 'What is delivered to: RabbitMQ brokers, under names of yours.',
  }),
  subscriptions: z.array(subscriptionSchema).meta({
    description: 'What is wanted, in which form, and where it goes.',
  }),
  pipeline: z
    .strictObject({
      workers: workers.default('auto').meta({
        description: 'Worker threads; auto: 1, and by load more, up to the cores there are and 8 (docs/workers.md).',
      }),
      partitions: count(1, 1024).default(16).meta({
        description: 'Into how many ordered lanes a subscription is split.',
      }),
      partitionBy: z
        .array(
          z.strictObject({
            namespaces: patterns().meta({ description: 'Patterns, as in a subscription.' }),
            key: choice('namespace', 'document').meta({
              description: 'What is kept in order: a namespace, or only each document (spreads a hot collection).',
            }),
          }),
        )
        .default([])
        .meta({ description: 'What decides the partition; the first match wins, the namespace where none does.' }),
      inFlight: size(64 * KIB, TIB)
        .prefault('64MiB')
        .meta({
          description: 'Bytes read and not yet confirmed: the brake on memory.',
        }),
      detachAfter: detachAfter.prefault('30s').meta({
        description:
          'For so long a subscription may hold back the others of its source; then it reads by itself until it has caught up. `off`: it holds them.',
      }),
    })
    .prefault({})
    .meta({ description: 'The work in between.' }),
  checkpoint: z
    .strictObject({
      path: text('the path of a folder').default('./tailrace-data').meta({
        description: "The data folder, relative to the file's.",
      }),
      interval: duration(10, HOUR).prefault('500ms').meta({
        description: 'How often the store is flushed to disk: what a power cut may repeat.',
      }),
    })
    .prefault({})
    .meta({ description: 'Where positions are kept.' }),
  parked: z
    .strictObject({
      maxBytes: size(64 * KIB, TIB)
        .prefault('1GiB')
        .meta({
          description: 'Room for what was set aside; once full, lanes are held instead.',
        }),
    })
    .prefault({})
    .meta({ description: 'Events that were set aside.' }),
  http: z
    .strictObject({
      listen: listen.prefault('127.0.0.1:9464').meta({
        description: 'Metrics, health and the API: "host:port" (port 0 picks one and logs it), or off.',
      }),
      token: z.string({ error: tokenError }).regex(TOKEN, { error: tokenError }).optional().meta({
        description:
          'What who asks the API or `/status` has to show: `${…}`. Beyond loopback they are closed without it.',
      }),
    })
    .prefault({})
    .meta({ description: 'Metrics, health and the API; `http: off` for none.' }),
  shutdownTimeout: duration(0, HOUR).prefault('10s').meta({
    description: 'How long a stop waits for confirms; what is unconfirmed then comes again.',
  }),
  log: z
    .strictObject({
      level: choice('trace', 'debug', 'info', 'warn', 'error').default('info').meta({
        description: 'The least that is logged, as JSON lines on stderr.',
      }),
    })
    .prefault({})
    .meta({ description: 'The log.' }),
});

/** A file without faults, its defaults filled in and its units read. */
export type FileSettings = z.output<typeof fileSchema>;
