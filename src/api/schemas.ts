/**
 * What the API answers, as zod schemas: types for who makes the answers, and the OpenAPI document for who reads them. Where an answer
 * shows configuration, its schema is the very one that the file is held against.
 */
import { z } from 'zod';
import { sinkSchema, sourceSchema, subscriptionSchema } from '../config/schema.ts';
import { GAP_REASONS, HOLD_REASONS, SNAPSHOT_CAUSES, SNAPSHOT_STATES, SUBSCRIPTION_STATES } from '../observe/status.ts';
import type { KeptStatus, LaneStatus, SinkStatus, SnapshotStatus, SourceStatus } from '../observe/status.ts';
import { PARK_REASONS } from '../worker/protocol.ts';

/** Those that the document names; the others stand where they are used. */
export const named = z.registry<{ readonly id: string }>();

function name<T extends z.ZodType>(id: string, schema: T): T {
  named.add(schema, { id });
  return schema;
}

/** Configuration as it is written: any value may be a placeholder. */
export const WRITTEN: readonly z.ZodType[] = [sourceSchema, sinkSchema, subscriptionSchema];
name('SourceConfiguration', sourceSchema);
name('SinkConfiguration', sinkSchema);
name('SubscriptionConfiguration', subscriptionSchema);

export const problemSchema = name(
  'Problem',
  z.strictObject({
    type: z.string().meta({ description: "Leads to the code's page, in this API." }),
    title: z.string(),
    status: z.int(),
    detail: z.string().meta({ description: 'What is wrong with this request, and what to do.' }),
    code: z.string().meta({ description: '`tailrace explain CODE` says more.' }),
    faults: z
      .array(z.strictObject({ path: z.string(), expected: z.string() }))
      .optional()
      .meta({ description: 'Parts of the request that are not as they should be.' }),
  }),
);

const seconds = () => z.number().nullable();
const position = () => z.string().nullable();
const count = () => z.int().min(0);

const sourceState = z.enum(['connecting', 'reading', 'held', 'reconnecting', 'stopped', 'position_lost', 'idle']);

const sourceStatus = name(
  'SourceStatus',
  z.strictObject({
    state: sourceState,
    member: z.string().nullable().meta({ description: '`host:port` of the member that is being read.' }),
    position: position().meta({ description: 'The last entry read, `seconds:increment`.' }),
    lagSeconds: seconds().meta({ description: "From the last entry read to the member's newest." }),
    majorityLagSeconds: seconds().meta({ description: "From the majority's newest entry to the member's newest." }),
    windowSeconds: seconds().meta({ description: 'From the oldest entry in the oplog to the newest.' }),
    headroomSeconds: seconds().meta({
      description: 'From the oldest entry to where a restart would read on; at 0 changes are lost.',
    }),
    checkpointLagSeconds: seconds().meta({
      description: "From the watermark of the subscription furthest behind to the member's newest entry.",
    }),
    inFlightBytes: count().meta({ description: 'Read and not yet confirmed.' }),
    entriesRead: count().meta({ description: 'Since the engine started; who asks twice has the rate.' }),
    bytesRead: count().meta({ description: 'Since the engine started.' }),
    heldBy: z.array(z.string()).readonly().meta({
      description: 'Subscriptions whose unconfirmed bytes keep this source from reading on.',
    }),
  }) satisfies z.ZodType<SourceStatus>,
);

export const sourceAnswer = name(
  'Source',
  z.strictObject({
    name: z.string(),
    configuration: sourceSchema,
    subscriptions: z.array(z.string()).meta({ description: 'Those that read from it.' }),
    status: sourceStatus.nullable().meta({ description: 'null where no subscription reads from it.' }),
  }),
);

const sinkStatus = name(
  'SinkStatus',
  z.strictObject({
    state: z.enum(['connecting', 'connected', 'reconnecting', 'stopped']),
    blocked: z.string().nullable().meta({ description: "The broker's reason for taking no more." }),
  }) satisfies z.ZodType<SinkStatus>,
);

export const sinkAnswer = name(
  'Sink',
  z.strictObject({
    name: z.string(),
    configuration: sinkSchema,
    subscriptions: z.array(z.string()).meta({ description: 'Those that deliver to it.' }),
    status: sinkStatus.nullable(),
  }),
);

export const snapshotAnswer = name(
  'Snapshot',
  z.strictObject({
    id: z.string(),
    source: z.string(),
    subscription: z.string(),
    cause: z.enum(SNAPSHOT_CAUSES).meta({ description: 'What asked for it.' }),
    state: z.enum(SNAPSHOT_STATES),
    namespaces: z.array(z.string()).readonly().nullable().meta({
      description: 'Patterns; null: all that the subscription follows.',
    }),
    filter: z.string().nullable().meta({ description: 'A query, as Extended JSON.' }),
    documents: count().meta({ description: 'Confirmed.' }),
    expectedDocuments: count().nullable().meta({
      description: 'About how many there are; null while they are being counted, and with a filter.',
    }),
    collections: count().meta({ description: 'That it is done with.' }),
    reading: z
      .array(z.strictObject({ ns: z.string(), documents: count() }))
      .readonly()
      .meta({ description: 'Collections that are being read.' }),
    documentsPerSecond: count().meta({ description: 'Of the last seconds.' }),
    secondsLeft: seconds().meta({ description: 'At that pace; null where that is not known.' }),
    waitsFor: z.string().nullable().meta({ description: 'Why it does not go on.' }),
    startedAt: z.string().meta({ format: 'date-time' }),
    endedAt: z.string().nullable(),
  }) satisfies z.ZodType<SnapshotStatus>,
);

const keptStatus = name(
  'Kept',
  z.strictObject({
    documents: count().meta({ description: 'Whose last states are kept.' }),
    bytes: count().meta({ description: 'On disk.' }),
    maxBytes: count().meta({ description: '`localImages.maxSize`' }),
    memoryBytes: count().meta({ description: 'In memory, until it is stored.' }),
    leftOut: count().meta({
      description: 'Since it began to be read: states that were not kept, as there was no room.',
    }),
  }) satisfies z.ZodType<KeptStatus>,
);

const holdReason = z.enum(HOLD_REASONS);

const laneStatus = name(
  'Lane',
  z.strictObject({
    partition: count(),
    queued: count().meta({ description: 'Messages that wait for their turn.' }),
    unconfirmed: count().meta({ description: 'Messages that were sent and not yet confirmed.' }),
    held: z
      .strictObject({ reason: holdReason, detail: z.string(), forSeconds: count() })
      .exactOptional()
      .meta({ description: 'Only while nothing passes.' }),
  }) satisfies z.ZodType<LaneStatus>,
);

const subscriptionStatus = {
  state: z.enum(SUBSCRIPTION_STATES).meta({
    description: '`held`: at least one of its lanes is; `paused`: somebody has paused it.',
  }),
  watermark: position().meta({ description: 'Everything up to it has been confirmed, `seconds:increment`.' }),
  lagSeconds: seconds().meta({ description: "From the watermark to the member's newest entry." }),
  headroomSeconds: seconds().meta({ description: 'From the oldest entry in the oplog to the watermark.' }),
  parked: count().meta({ description: 'Events that lie in the parking store now.' }),
  detached: z.boolean().meta({
    description: 'It held its source for too long, and reads by itself until it has caught up with the others.',
  }),
  eventsPublished: count().meta({ description: 'Since the engine started, those sent again included.' }),
  messagesConfirmed: count().meta({ description: 'Since the engine started.' }),
  kept: keptStatus.nullable().meta({ description: 'Of `images: local`; null where nothing is kept, or not now.' }),
  queued: count().meta({ description: 'Messages of all lanes that wait for their turn.' }),
  unconfirmed: count().meta({ description: 'Messages of all lanes that were sent and not yet confirmed.' }),
  holds: z
    .array(
      name(
        'Hold',
        z.strictObject({
          reason: holdReason,
          detail: z.string().meta({ description: "The longest held lane's: the broker's words, the routing key." }),
          forSeconds: count(),
          lanes: count().meta({ description: 'How many lanes it holds.' }),
        }),
      ),
    )
    .meta({ description: 'What holds lanes, the longest first; empty while everything passes.' }),
};

const subscriptionParts = {
  name: z.string(),
  source: z.string(),
  sink: z.string().nullable().meta({ description: 'null where it writes to standard output or to a file.' }),
  configuration: subscriptionSchema,
};

export const subscriptionAnswer = name(
  'Subscription',
  z.strictObject({
    ...subscriptionParts,
    status: name('SubscriptionStatus', z.strictObject(subscriptionStatus)),
  }),
);

export const subscriptionDetail = name(
  'SubscriptionWithLanes',
  z.strictObject({
    ...subscriptionParts,
    status: name(
      'SubscriptionStatusWithLanes',
      z.strictObject({
        ...subscriptionStatus,
        lanes: z.array(laneStatus).readonly().meta({ description: 'Those that have had something to deliver.' }),
      }),
    ),
  }),
);

const time = () => z.string().meta({ format: 'date-time' });

export const checkpointAnswer = name(
  'Checkpoint',
  z.strictObject({
    name: z.string().meta({ description: "The subscription's." }),
    configured: z.boolean(),
    source: z.string(),
    replicaSetId: z.string(),
    resume: z
      .strictObject({
        kind: z.enum(['from', 'after', 'token']),
        position: z.string(),
        time: time(),
        term: z.int().optional(),
        index: z.int().nullable().optional(),
        watch: z.string().optional(),
        token: z.string().optional(),
      })
      .meta({ description: 'Where a cursor reopens.' }),
    watermark: z
      .strictObject({ position: z.string(), time: time(), term: z.int(), index: z.int() })
      .nullable()
      .meta({ description: 'Everything at or before it was confirmed; null until something was.' }),
    partitions: count(),
    lanes: z.array(z.strictObject({ partition: count(), position: z.string(), index: z.int() })).meta({
      description: "Each lane's last confirmed operation.",
    }),
    updatedAt: time(),
    pausedAt: time().nullable().meta({ description: 'When somebody paused it; null while nobody has.' }),
  }),
);

export const gapAnswer = name(
  'Gap',
  z.strictObject({
    source: z.string(),
    subscription: z.string(),
    from: z.string().meta({ description: 'The last position held.' }),
    to: z.string().meta({ description: 'Where reading went on.' }),
    fromTime: time(),
    toTime: time(),
    reason: z.string().meta({ description: `One of ${GAP_REASONS.join(', ')}.` }),
    at: time().meta({ description: 'When it was noticed.' }),
  }),
);

export const parkReason = z.enum(PARK_REASONS, { error: `one of ${PARK_REASONS.join(', ')}` });

const parkedParts = {
  id: z.string().meta({ description: 'In this API.' }),
  event: z.string().meta({ description: "The event's `_id`." }),
  subscription: z.string(),
  configured: z.boolean().meta({ description: 'Whether there is such a subscription now.' }),
  ns: z.string(),
  reason: parkReason,
  detail: z.string(),
  time: z.string().nullable().meta({ description: "The event's own; null of one so damaged that it has none." }),
  parkedAt: time(),
  kind: z.enum(['entry', 'event', 'message']).meta({
    description:
      'What was set aside: an entry of the oplog, an event from which fields were taken out, or a finished message.',
  }),
  bytes: count(),
};

export const parkedAnswer = name('ParkedEvent', z.strictObject(parkedParts));

const content = name(
  'ParkedContent',
  z.discriminatedUnion('kind', [
    z.strictObject({
      kind: z.literal('documents'),
      documents: z.array(z.unknown()).meta({ description: 'As relaxed Extended JSON.' }),
    }),
    z.strictObject({
      kind: z.literal('bytes'),
      base64: z.string().meta({ description: 'What cannot be decoded, as it is; of much the beginning.' }),
      truncated: z.boolean(),
    }),
    z.strictObject({ kind: z.literal('withheld'), why: z.string() }),
  ]),
);

export const parkedDetail = name(
  'ParkedEventWithContent',
  z.strictObject({
    ...parkedParts,
    contentType: z.string().nullable(),
    contentEncoding: z.string().nullable(),
    headers: z.record(z.string(), z.string()),
    message: z
      .strictObject({ routingKey: z.string(), type: z.string(), events: count(), partition: count() })
      .nullable()
      .meta({ description: 'Only of a message: what else it was sent with.' }),
    content,
  }),
);

export const reasonAnswer = name(
  'Reason',
  z.strictObject({
    code: z.string().meta({ description: '`/codes/{code}` says what to do.' }),
    text: z.string().meta({ description: 'What is so, for people.' }),
  }),
);

export const watchedEvent = name(
  'WatchedEvent',
  z.strictObject({
    subscription: z.string(),
    partition: count(),
    ns: z.string(),
    operationType: z.string(),
    id: z.string().meta({ description: "The event's `_id`." }),
    routingKey: z.string(),
    headers: z.record(z.string(), z.string()),
    bytes: count().meta({ description: 'What the event takes in its message, before that is compressed.' }),
    held: holdReason.nullable().meta({ description: 'Why its lane does not let it go yet.' }),
    beginning: z.string().nullable().meta({ description: 'Of an event that is too large to be shown whole: as text.' }),
    event: z.unknown().meta({ description: 'As its message holds it; null where it is too large.' }),
  }),
);

export const codeAnswer = name('Code', z.strictObject({ code: z.string(), title: z.string() }));

export const codeDetail = name(
  'CodeWithPage',
  z.strictObject({
    code: z.string(),
    title: z.string().meta({ description: 'What happened.' }),
    why: z.string(),
    whatToDo: z.string(),
    meanwhile: z.string().meta({ description: 'What the engine does meanwhile.' }),
    lostOrRepeated: z.string(),
  }),
);

/** Definitions as they are sent: they are checked as a file is, once placeholders are filled in, so here they may be anything. */
const sent = () => z.record(z.string(), z.unknown(), { error: 'a mapping' });

export const definitionBodies = { source: sent(), sink: sent(), subscription: sent() } as const;

/** What the document shows for them. */
export const SENT_AS: ReadonlyMap<z.ZodType, z.ZodType> = new Map<z.ZodType, z.ZodType>([
  [definitionBodies.source, sourceSchema],
  [definitionBodies.sink, sinkSchema],
  [definitionBodies.subscription, subscriptionSchema],
]);

export const definitionsBody = z.strictObject({
  sources: z.record(z.string(), definitionBodies.source),
  sinks: z.record(z.string(), definitionBodies.sink).default({}),
  subscriptions: z.array(z.looseObject({ name: z.string() })).meta({ description: 'As in a file.' }),
  by: z.string().min(1).max(200).optional().meta({ description: 'Who changes it, for the history.' }),
});

export const differenceAnswer = name(
  'Difference',
  z.strictObject({
    kind: z.enum(['source', 'sink', 'subscription']),
    name: z.string(),
    change: z.enum(['added', 'changed', 'removed']),
    settings: z.array(z.string()).readonly().meta({ description: 'Of what is changed: which settings.' }),
  }),
);

export const faultAnswer = name(
  'DefinitionFault',
  z.strictObject({
    path: z.string().meta({ description: 'Inside the configuration: `to.queue`.' }),
    expected: z.string(),
  }),
);

const versionParts = {
  number: z.int().min(1),
  at: time(),
  by: z.string().meta({ description: 'Who, as they said.' }),
  cause: z.enum(['file', 'change', 'restore']).meta({
    description:
      '`file`: taken from a file; `change`: one thing was changed; `restore`: an earlier version, `from`, came back.',
  }),
  from: z.int().nullable(),
  changes: z.array(differenceAnswer).readonly().meta({ description: 'Against the version before.' }),
};

const definitionParts = {
  sources: z.record(z.string(), sourceSchema),
  sinks: z.record(z.string(), sinkSchema),
  subscriptions: z.array(subscriptionSchema),
};

export const versionAnswer = name('Version', z.strictObject(versionParts));

export const versionDetail = name(
  'VersionWithDefinitions',
  z.strictObject({ ...versionParts, definitions: z.strictObject(definitionParts) }),
);

export const definitionsAnswer = name(
  'Definitions',
  z.strictObject({
    management: z.enum(['file', 'online']),
    version: z.int().nullable().meta({ description: 'null where the file manages them.' }),
    ...definitionParts,
  }),
);

export const findingAnswer = name(
  'Finding',
  z.strictObject({
    kind: z.enum(['ok', 'info', 'warning', 'fault']).meta({
      description: 'A fault would stop a start, or leave it waiting; nothing else would.',
    }),
    text: z.string(),
  }),
);

export const messageAnswer = name(
  'SampleMessage',
  z.strictObject({
    routingKey: z.string(),
    type: z.string(),
    messageId: z.string(),
    contentType: z.string(),
    contentEncoding: z.string().nullable(),
    headers: z.record(z.string(), z.string()),
    events: count().meta({ description: 'How many are in it.' }),
    bytes: count(),
    body: z.string(),
    encoding: z.enum(['text', 'base64']),
    truncated: z.boolean().meta({ description: '`body` is only the beginning.' }),
  }),
);
