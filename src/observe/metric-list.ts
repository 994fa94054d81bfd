/**
 * Every metric of Tailrace's own, once: what is registered, what the README's table and the dashboard are checked against.
 * A name here is a promise to whoever built an alert on it. Help texts say what the number means to an operator.
 * Invariant: labels are few and bounded (names from the configuration, words from a union type), never a document's values.
 */

export interface MetricSpec {
  readonly name: `tailrace_${string}`;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly labels: readonly string[];
  readonly help: string;
  /** A histogram's upper bounds, in seconds. */
  readonly buckets?: readonly number[];
}

export const METRICS = {
  buildInfo: {
    name: 'tailrace_build_info',
    type: 'gauge',
    labels: ['version'],
    help: 'Always 1; the label tells which version runs.',
  },
  ready: {
    name: 'tailrace_ready',
    type: 'gauge',
    labels: [],
    help: '1 while /readyz answers 200: both ends connected, batches coming, no lane held, no confirm overdue.',
  },

  entriesRead: {
    name: 'tailrace_entries_read_total',
    type: 'counter',
    labels: ['source'],
    help: 'Oplog entries read.',
  },
  readBytes: {
    name: 'tailrace_read_bytes_total',
    type: 'counter',
    labels: ['source'],
    help: 'Bytes of oplog entries read.',
  },
  eventsFiltered: {
    name: 'tailrace_events_filtered_total',
    type: 'counter',
    labels: ['source'],
    help: 'Operations that no subscription asked for.',
  },
  sourceLag: {
    name: 'tailrace_source_lag_seconds',
    type: 'gauge',
    labels: ['source'],
    help: "From the last entry read to the server's newest entry.",
  },
  majorityLag: {
    name: 'tailrace_majority_lag_seconds',
    type: 'gauge',
    labels: ['source'],
    help: "From the majority's newest entry to the server's newest: only the replica set can shorten it.",
  },
  checkpointLag: {
    name: 'tailrace_checkpoint_lag_seconds',
    type: 'gauge',
    labels: ['source'],
    help: "From the watermark of the subscription furthest behind to the server's newest entry.",
  },
  oplogWindow: {
    name: 'tailrace_oplog_window_seconds',
    type: 'gauge',
    labels: ['source'],
    help: 'From the oldest entry in the oplog to the newest: how long a stop may last.',
  },
  oplogHeadroom: {
    name: 'tailrace_oplog_headroom_seconds',
    type: 'gauge',
    labels: ['source'],
    help: "From the oldest entry in the oplog to the checkpoint's resume position; at 0 changes are lost.",
  },
  inFlightBytes: {
    name: 'tailrace_in_flight_bytes',
    type: 'gauge',
    labels: ['source'],
    help: 'Bytes read and not yet confirmed; reading waits at pipeline.inFlight.',
  },
  workerBatchSeconds: {
    name: 'tailrace_worker_batch_seconds',
    type: 'histogram',
    labels: ['source', 'phase'],
    help: 'A batch on its way through the workers: wait (for a worker, and the transfer), decode (the work), order (for batches before it).',
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10],
  },
  workerThreads: {
    name: 'tailrace_worker_threads',
    type: 'gauge',
    labels: [],
    help: 'Worker threads that are up; with `workers: auto` as many as the load asks for.',
  },
  sourceState: {
    name: 'tailrace_source_state',
    type: 'gauge',
    labels: ['source', 'state'],
    help: '1 for the state the source is in, 0 for the others.',
  },
  sourceHeldBy: {
    name: 'tailrace_source_held_by',
    type: 'gauge',
    labels: ['source', 'subscription'],
    help: '1 while the unconfirmed bytes of this subscription keep its source from reading on.',
  },
  subscriptionDetached: {
    name: 'tailrace_subscription_detached',
    type: 'gauge',
    labels: ['source', 'subscription'],
    help: '1 while the subscription reads by itself, since it had held the others of its source for pipeline.detachAfter.',
  },
  subscriptionPaused: {
    name: 'tailrace_subscription_paused',
    type: 'gauge',
    labels: ['source', 'subscription'],
    help: '1 while the subscription is paused; its checkpoint stays, and the oplog moves on.',
  },
  snapshotDocuments: {
    name: 'tailrace_snapshot_documents',
    type: 'gauge',
    labels: ['subscription'],
    help: 'Documents that the snapshot that goes on has delivered; no series where none does.',
  },
  snapshotExpected: {
    name: 'tailrace_snapshot_expected_documents',
    type: 'gauge',
    labels: ['subscription'],
    help: 'About how many documents the snapshot that goes on is to deliver.',
  },
  keptDocuments: {
    name: 'tailrace_kept_documents',
    type: 'gauge',
    labels: ['subscription'],
    help: 'Documents whose last states are kept for images: local.',
  },
  keptBytes: {
    name: 'tailrace_kept_bytes',
    type: 'gauge',
    labels: ['subscription'],
    help: 'What they take on disk; localImages.maxSize is the limit.',
  },
  keptLeftOut: {
    name: 'tailrace_kept_left_out_total',
    type: 'counter',
    labels: ['subscription'],
    help: 'States that were not kept for images: local, as there was no room.',
  },
  gaps: {
    name: 'tailrace_gaps_total',
    type: 'counter',
    labels: ['source', 'reason'],
    help: 'Gaps on record: changes that had left the oplog, or were rolled back, before they were read.',
  },

  eventsPublished: {
    name: 'tailrace_events_published_total',
    type: 'counter',
    labels: ['subscription'],
    help: 'Change events sent, those sent again after a hold or a lost connection included.',
  },
  eventsParked: {
    name: 'tailrace_events_parked_total',
    type: 'counter',
    labels: ['subscription', 'reason'],
    help: 'Change events set aside instead of delivered.',
  },
  messagesConfirmed: {
    name: 'tailrace_messages_confirmed_total',
    type: 'counter',
    labels: ['subscription'],
    help: 'Messages that the broker has taken over.',
  },
  messagesReturned: {
    name: 'tailrace_messages_returned_total',
    type: 'counter',
    labels: ['subscription'],
    help: 'Messages that came back because no queue was bound for their routing key.',
  },
  messagesNacked: {
    name: 'tailrace_messages_nacked_total',
    type: 'counter',
    labels: ['subscription'],
    help: 'Messages that the broker refused, for example because a queue is full.',
  },
  messagesUnconfirmed: {
    name: 'tailrace_messages_unconfirmed',
    type: 'gauge',
    labels: ['subscription'],
    help: 'Messages sent and not yet confirmed.',
  },
  publishConfirmSeconds: {
    name: 'tailrace_publish_confirm_seconds',
    type: 'histogram',
    labels: ['subscription'],
    help: 'From publishing a message to its confirm; one observation for a group confirmed together, of its oldest.',
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
  },
  laneQueued: {
    name: 'tailrace_lane_queued',
    type: 'gauge',
    labels: ['subscription', 'partition'],
    help: 'Messages of one partition that wait for their turn.',
  },
  laneUnconfirmed: {
    name: 'tailrace_lane_unconfirmed',
    type: 'gauge',
    labels: ['subscription', 'partition'],
    help: 'Messages of one partition that were sent and not yet confirmed.',
  },
  laneHeld: {
    name: 'tailrace_lane_held',
    type: 'gauge',
    labels: ['subscription', 'partition', 'reason'],
    help: '1 for each lane that is held: nothing of its partition passes until the cause is gone.',
  },

  sinkBlocked: {
    name: 'tailrace_sink_blocked',
    type: 'gauge',
    labels: ['sink'],
    help: '1 while the broker takes no messages, for want of memory or disk.',
  },
  reconnects: {
    name: 'tailrace_reconnects_total',
    type: 'counter',
    labels: ['end', 'name'],
    help: 'Connections made anew after one was lost; end is source or sink, name is theirs.',
  },
  parkedBytes: {
    name: 'tailrace_parked_bytes',
    type: 'gauge',
    labels: [],
    help: 'Bytes in the parking store.',
  },
  parkedLimitBytes: {
    name: 'tailrace_parked_limit_bytes',
    type: 'gauge',
    labels: [],
    help: 'parked.maxBytes: a full parking store holds lanes.',
  },
} as const satisfies Record<string, MetricSpec>;
