/** Is it healthy, how far behind, how long until the oplog runs out, what is the bottleneck. */
import { I, INSTANCE, SOURCE, SOURCES, SUBSCRIPTION, SUBSCRIPTIONS } from './parts.ts';
import type { Board } from './parts.ts';

export const overview: Board = {
  uid: 'tailrace-overview',
  title: 'Tailrace: Overview',
  about:
    'One or several Tailrace engines: is it healthy, how far behind, how long until the oplog runs out, and what is the bottleneck. Read the tiles first, then the row that is not green.',
  variables: [INSTANCE, SOURCES, SUBSCRIPTIONS],
  rows: [
    {
      title: 'Now',
      height: 4,
      charts: [
        {
          kind: 'stat',
          title: 'Ready',
          means:
            '1 while every engine answers /readyz with 200: both ends connected, batches coming, nothing held, no confirm overdue. When it is not, GET /readyz lists the reasons and the rows below show since when.',
          unit: 'none',
          width: 3,
          queries: [[`min(tailrace_ready{${I}})`, '']],
          steps: [
            [null, 'red'],
            [1, 'green'],
          ],
          words: { 0: ['NOT READY', 'red'], 1: ['READY', 'green'] },
        },
        {
          kind: 'stat',
          title: 'Source lag',
          means:
            "How far reading is behind the server's newest entry. Rising: see whether something holds the source (What holds it) or the engine is at its limit (the Pipeline dashboard).",
          unit: 's',
          width: 3,
          queries: [[`max(tailrace_source_lag_seconds{${SOURCE}})`, '']],
          steps: [
            [null, 'green'],
            [10, 'orange'],
            [60, 'red'],
          ],
        },
        {
          kind: 'stat',
          title: 'Delivery lag',
          means:
            'How old the oldest change is that the broker has not yet confirmed, over all subscriptions. Much above the source lag: the broker or a held lane is the brake, not reading.',
          unit: 's',
          width: 3,
          queries: [[`max(tailrace_checkpoint_lag_seconds{${SOURCE}})`, '']],
          steps: [
            [null, 'green'],
            [30, 'orange'],
            [300, 'red'],
          ],
        },
        {
          kind: 'stat',
          title: 'Oplog headroom',
          means:
            'How long the slowest checkpoint may still stand before the oplog overwrites what it needs. Below an hour: mend what holds delivery now, or enlarge the oplog (replSetResizeOplog).',
          unit: 's',
          width: 3,
          queries: [[`min(tailrace_oplog_headroom_seconds{${SOURCE}})`, '']],
          steps: [
            [null, 'red'],
            [3600, 'orange'],
            [21600, 'green'],
          ],
        },
        {
          kind: 'stat',
          title: 'Read',
          means:
            'Oplog entries read each second, all sources together. 0 on a quiet replica set is fine as long as Ready is green.',
          unit: 'ops',
          width: 3,
          queries: [[`sum(rate(tailrace_entries_read_total{${SOURCE}}[$__rate_interval]))`, '']],
          steps: [[null, 'blue']],
        },
        {
          kind: 'stat',
          title: 'Published',
          means: 'Change events sent to the destinations each second, all subscriptions together.',
          unit: 'ops',
          width: 3,
          queries: [[`sum(rate(tailrace_events_published_total{${SUBSCRIPTION}}[$__rate_interval]))`, '']],
          steps: [[null, 'blue']],
        },
        {
          kind: 'stat',
          title: 'Lanes held',
          means:
            'Partitions that stand still because their destination refuses. Lanes held by reason says why; they go on by themselves once the cause is gone.',
          unit: 'none',
          width: 3,
          queries: [[`sum(tailrace_lane_held{${SUBSCRIPTION}}) or vector(0)`, '']],
          steps: [
            [null, 'green'],
            [1, 'red'],
          ],
        },
        {
          kind: 'stat',
          title: 'Parked, 24 h',
          means:
            'Events set aside instead of delivered during the last day. Not 0: `tailrace parked list` shows each with its reason.',
          unit: 'none',
          width: 3,
          queries: [[`sum(increase(tailrace_events_parked_total{${SUBSCRIPTION}}[24h]))`, '']],
          steps: [
            [null, 'green'],
            [0.5, 'orange'],
          ],
        },
      ],
    },
    {
      title: 'Where it stands',
      height: 6,
      charts: [
        {
          kind: 'stat',
          title: 'Time until the oplog runs out',
          width: 12,
          unit: 's',
          means:
            'At the pace of the last 15 minutes, how long until the oldest entry overtakes the checkpoint; a year stands for never. It counts down in real trouble only: mend delivery before it reaches 0.',
          queries: [
            [
              `min(clamp_max(tailrace_oplog_headroom_seconds{${SOURCE}} / clamp_min(-deriv(tailrace_oplog_headroom_seconds{${SOURCE}}[15m]), 0.000001), 31536000))`,
              '',
            ],
          ],
          steps: [
            [null, 'red'],
            [3600, 'orange'],
            [21600, 'green'],
          ],
        },
        {
          kind: 'bars',
          title: 'Bottleneck: how busy each stage is',
          width: 12,
          unit: 'percentunit',
          means:
            'The fullest bar is what limits the rate. Workers: decoding needs more cores or pipeline.workers. Main thread: let messages hold more events (batch.maxEvents). Delivery: the source stands because confirms are slow; see the RabbitMQ dashboard. All low while lag grows: the replica set or the network.',
          queries: [
            [
              `clamp_max(sum(rate(tailrace_worker_batch_seconds_sum{${SOURCE}, phase="decode"}[$__rate_interval])) / clamp_min(sum(tailrace_worker_threads{${I}}), 1), 1)`,
              'Workers',
            ],
            [
              `clamp(sum(rate(process_cpu_seconds_total{${I}}[$__rate_interval])) - sum(rate(tailrace_worker_batch_seconds_sum{${I}, phase="decode"}[$__rate_interval])), 0, 1)`,
              'Main thread',
            ],
            [
              `max(avg_over_time(tailrace_source_held_by{${SOURCE}, subscription=~"$subscription"}[$__rate_interval]))`,
              'Delivery',
            ],
          ],
          steps: [
            [null, 'green'],
            [0.7, 'orange'],
            [0.9, 'red'],
          ],
        },
      ],
    },
    {
      title: 'How far behind',
      height: 8,
      charts: [
        {
          kind: 'lines',
          title: 'Source and majority lag',
          means:
            "From the server's newest entry back to the last one read, and to the newest one a majority has. Only what a majority has is read: when both lines rise together, look at the secondaries, not here.",
          unit: 's',
          width: 8,
          queries: [
            [`max by (source) (tailrace_source_lag_seconds{${SOURCE}})`, '{{source}} source'],
            [`max by (source) (tailrace_majority_lag_seconds{${SOURCE}})`, '{{source}} majority'],
          ],
        },
        {
          kind: 'lines',
          title: 'Checkpoint lag',
          means:
            "From the server's newest entry back to the last change that the broker has confirmed with everything before it. Rises in a straight line: one lane stands still, see Lanes held by reason.",
          unit: 's',
          width: 8,
          queries: [[`max by (source) (tailrace_checkpoint_lag_seconds{${SOURCE}})`, '{{source}}']],
        },
        {
          kind: 'lines',
          title: 'Oplog window and headroom',
          means:
            'How much time the oplog holds, and how much of it is left behind the checkpoint. Where headroom meets 0 changes are lost. It should run close below the window; the lines mark six hours and one hour.',
          unit: 's',
          width: 8,
          queries: [
            [`min by (source) (tailrace_oplog_window_seconds{${SOURCE}})`, '{{source}} window'],
            [`min by (source) (tailrace_oplog_headroom_seconds{${SOURCE}})`, '{{source}} headroom'],
          ],
          steps: [
            [null, 'red'],
            [3600, 'orange'],
            [21600, 'transparent'],
          ],
        },
      ],
    },
    {
      title: 'What holds it',
      height: 8,
      charts: [
        {
          kind: 'states',
          title: 'State of the sources',
          means:
            'The state each source is in. position_lost needs a person: the log and `tailrace checkpoint show` say from where to where changes are missing. reconnecting mends itself once the replica set answers.',
          unit: 'none',
          width: 6,
          queries: [[`max by (source, state) (tailrace_source_state{${SOURCE}}) == 1`, '{{source}} {{state}}']],
          steps: [
            [null, 'green'],
            [1, 'red'],
          ],
          words: { 1: ['now', 'blue'] },
        },
        {
          kind: 'states',
          title: 'Sources held by',
          means:
            'Which subscription keeps its source from reading on. One that does so for pipeline.detachAfter reads by itself until it has caught up, and the others without it: mend its destination. A paused one delivers nothing until it is resumed.',
          unit: 'none',
          width: 6,
          queries: [
            [
              `max by (source, subscription) (tailrace_source_held_by{${SOURCE}, subscription=~"$subscription"})`,
              '{{source}} by {{subscription}}',
            ],
            [
              `2 * max by (source, subscription) (tailrace_subscription_detached{${SOURCE}, subscription=~"$subscription"})`,
              '{{subscription}} by itself',
            ],
            [
              `3 * max by (source, subscription) (tailrace_subscription_paused{${SOURCE}, subscription=~"$subscription"})`,
              '{{subscription}} paused',
            ],
          ],
          steps: [
            [null, 'green'],
            [1, 'red'],
          ],
          words: {
            0: ['flowing', 'green'],
            1: ['holding', 'orange'],
            2: ['by itself', 'purple'],
            3: ['paused', 'blue'],
          },
        },
        {
          kind: 'states',
          title: 'Sinks blocked',
          means:
            'Whether the broker takes messages. Blocked: it is low on memory or disk (rabbitmqctl status, alarms); consume or free some, the engine goes on by itself.',
          unit: 'none',
          width: 6,
          queries: [[`max by (sink) (tailrace_sink_blocked{${I}})`, '{{sink}}']],
          steps: [
            [null, 'green'],
            [1, 'red'],
          ],
          words: { 0: ['open', 'green'], 1: ['blocked', 'red'] },
        },
        {
          kind: 'lines',
          title: 'Lanes held by reason',
          means:
            'Partitions that stand still, and why. unroutable: bind a queue. nacked: a queue is full. refused: the exchange or queue is missing, or the rights to it. parking-full: replay or drop what is parked.',
          unit: 'none',
          width: 6,
          queries: [
            [
              `sum by (subscription, reason) (tailrace_lane_held{${SUBSCRIPTION}}) or vector(0)`,
              '{{subscription}} {{reason}}',
            ],
          ],
        },
      ],
    },
    {
      title: 'Faults',
      height: 8,
      charts: [
        {
          kind: 'lines',
          title: 'Parked by reason',
          means:
            'Events set aside, and why. `tailrace parked list` shows them; too-large and missing-field are for whoever writes the documents, unsupported-… waits for a later version.',
          unit: 'none',
          width: 6,
          queries: [
            [
              `sum by (subscription, reason) (increase(tailrace_events_parked_total{${SUBSCRIPTION}}[$__rate_interval]))`,
              '{{subscription}} {{reason}}',
            ],
          ],
        },
        {
          kind: 'lines',
          title: 'Parking store',
          means:
            'Bytes set aside, and the limit parked.maxBytes. At the limit lanes hold instead: replay or drop what is parked before, or raise it.',
          unit: 'bytes',
          width: 6,
          queries: [
            [`sum by (instance) (tailrace_parked_bytes{${I}})`, 'stored'],
            [`sum by (instance) (tailrace_parked_limit_bytes{${I}})`, 'limit'],
          ],
        },
        {
          kind: 'lines',
          title: 'Reconnects',
          means:
            'Connections made anew, to sources and to sinks. Single ones go with elections and restarts; a steady rate is a network or a heartbeat that does not fit.',
          unit: 'none',
          width: 6,
          queries: [
            [`sum by (end, name) (increase(tailrace_reconnects_total{${I}}[$__rate_interval]))`, '{{end}} {{name}}'],
          ],
        },
        {
          kind: 'lines',
          title: 'Gaps on record',
          means:
            'Gaps in what was delivered: changes had left the oplog, or were rolled back, before they were read. Each step up means lost changes: compare the data, and give the oplog more room.',
          unit: 'none',
          width: 6,
          queries: [[`max by (source, reason) (tailrace_gaps_total{${SOURCE}})`, '{{source}} {{reason}}']],
        },
        {
          kind: 'lines',
          title: 'Snapshots',
          means:
            'Documents that snapshots have delivered, and about how many there are to deliver. One line that does not reach the other: `tailrace snapshot list` says what it waits for.',
          unit: 'none',
          width: 24,
          queries: [
            [`max by (subscription) (tailrace_snapshot_documents{${I}})`, '{{subscription}} delivered'],
            [`max by (subscription) (tailrace_snapshot_expected_documents{${I}})`, '{{subscription}} of about'],
          ],
        },
        {
          kind: 'lines',
          title: 'Documents kept for images',
          means:
            'What `images: local` keeps on disk. Where it stays at `localImages.maxSize`, events of further documents go without images: raise it, or follow less.',
          unit: 'bytes',
          width: 12,
          queries: [[`max by (subscription) (tailrace_kept_bytes{${I}})`, '{{subscription}}']],
        },
        {
          kind: 'lines',
          title: 'Documents kept, and left out',
          means: 'How many documents `images: local` keeps, and how many it could not, a second.',
          unit: 'none',
          width: 12,
          queries: [
            [`max by (subscription) (tailrace_kept_documents{${I}})`, '{{subscription}} kept'],
            [
              `sum by (subscription) (rate(tailrace_kept_left_out_total{${I}}[$__rate_interval]))`,
              '{{subscription}} left out',
            ],
          ],
        },
      ],
    },
    {
      title: 'Engines',
      height: 4,
      charts: [
        {
          kind: 'stat',
          title: 'Version',
          means: 'Which version runs; more than one shows while an update is rolled out.',
          unit: 'none',
          width: 12,
          queries: [[`count by (version) (tailrace_build_info{${I}})`, '{{version}}']],
          steps: [[null, 'blue']],
        },
        {
          kind: 'stat',
          title: 'Running since',
          means:
            "Time since the engine started. Short again and again: it is restarted, and the log's last lines before each start say why.",
          unit: 's',
          width: 12,
          queries: [[`time() - min by (instance) (process_start_time_seconds{${I}})`, '{{instance}}']],
          steps: [[null, 'blue']],
        },
      ],
    },
  ],
};
