/** Each stage's rate, time and memory. */
import { I, INSTANCE, SOURCE, SOURCES, SUBSCRIPTION, SUBSCRIPTIONS } from './parts.ts';
import type { Board } from './parts.ts';

export const pipeline: Board = {
  uid: 'tailrace-pipeline',
  title: 'Tailrace: Pipeline',
  about: 'Each stage on the way of a change, read, decode, lanes, confirm: its rate, time and memory.',
  variables: [INSTANCE, SOURCES, SUBSCRIPTIONS],
  rows: [
    {
      title: 'Read',
      height: 8,
      charts: [
        {
          kind: 'lines',
          title: 'Entries read and filtered',
          means:
            'Oplog entries read each second, and operations among them that no subscription asked for. Mostly filtered: the engine works for nothing but its position; that is cheap, not wrong.',
          unit: 'ops',
          width: 8,
          queries: [
            [`sum by (source) (rate(tailrace_entries_read_total{${SOURCE}}[$__rate_interval]))`, '{{source}} read'],
            [
              `sum by (source) (rate(tailrace_events_filtered_total{${SOURCE}}[$__rate_interval]))`,
              '{{source}} filtered',
            ],
          ],
        },
        {
          kind: 'lines',
          title: 'Bytes read',
          means:
            "Oplog bytes read each second. A flat top below the server's write rate means a limit was met: network, workers or the broker.",
          unit: 'Bps',
          width: 8,
          queries: [[`sum by (source) (rate(tailrace_read_bytes_total{${SOURCE}}[$__rate_interval]))`, '{{source}}']],
        },
        {
          kind: 'lines',
          title: 'Bytes in flight',
          means:
            'Read and not yet confirmed. At pipeline.inFlight reading waits: then the destination is slower than the oplog. Raising the limit buys memory use, not speed.',
          unit: 'bytes',
          width: 8,
          queries: [[`sum by (source) (tailrace_in_flight_bytes{${SOURCE}})`, '{{source}}']],
        },
      ],
    },
    {
      title: 'Decode',
      height: 8,
      charts: [
        {
          kind: 'lines',
          title: 'Batch times in the workers',
          means:
            '95 % of batches are faster than this. wait high: too few workers (pipeline.workers). order high: one batch is much slower than its neighbours. decode is the work itself.',
          unit: 's',
          width: 12,
          queries: [
            [
              `histogram_quantile(0.95, sum by (le, phase) (rate(tailrace_worker_batch_seconds_bucket{${SOURCE}}[$__rate_interval])))`,
              '{{phase}} p95',
            ],
          ],
        },
        {
          kind: 'lines',
          title: 'Workers busy',
          means:
            'How many workers are decoding at a time, on average, and how many threads there are for it. Near each other and at pipeline.workers: decoding is the limit, give it more cores. Far below while lag grows: the limit is elsewhere.',
          unit: 'none',
          width: 12,
          queries: [
            [
              `sum by (source) (rate(tailrace_worker_batch_seconds_sum{${SOURCE}, phase="decode"}[$__rate_interval]))`,
              '{{source}}',
            ],
            [`sum by (instance) (tailrace_worker_threads{${I}})`, 'threads {{instance}}'],
          ],
        },
        {
          kind: 'lines',
          title: 'Time of a batch by phase, mean',
          width: 8,
          unit: 's',
          means:
            'The mean time a batch spends waiting for a worker, in the worker, and waiting for the batches before it. The largest is the stage to look at.',
          queries: [
            [
              `sum by (phase) (rate(tailrace_worker_batch_seconds_sum{${SOURCE}}[$__rate_interval])) / clamp_min(sum by (phase) (rate(tailrace_worker_batch_seconds_count{${SOURCE}}[$__rate_interval])), 0.000001)`,
              '{{phase}}',
            ],
          ],
        },
        {
          kind: 'lines',
          title: 'Busy share of a worker',
          width: 8,
          unit: 'percentunit',
          means:
            'The share of its time that a worker spends decoding, on average over the workers of an engine. Near 100 %: more workers or cores would help.',
          queries: [
            [
              `sum by (instance) (rate(tailrace_worker_batch_seconds_sum{${SOURCE}, phase="decode"}[$__rate_interval])) / clamp_min(sum by (instance) (tailrace_worker_threads{${I}}), 1)`,
              '{{instance}}',
            ],
          ],
        },
      ],
    },
    {
      title: 'Lanes',
      height: 8,
      charts: [
        {
          kind: 'lines',
          title: 'Events published',
          means:
            'Change events sent each second, those sent again after a hold included. Well above what the source writes: something makes lanes send again, see Faults.',
          unit: 'ops',
          width: 12,
          queries: [
            [
              `sum by (subscription) (rate(tailrace_events_published_total{${SUBSCRIPTION}}[$__rate_interval]))`,
              '{{subscription}}',
            ],
          ],
        },
        {
          kind: 'lines',
          title: 'Messages unconfirmed',
          means:
            'Sent and not yet confirmed. Steady at window × lanes: the broker is the limit, which is normal in a catch-up. Steady without any being confirmed: it hangs.',
          unit: 'none',
          width: 12,
          queries: [[`sum by (subscription) (tailrace_messages_unconfirmed{${SUBSCRIPTION}})`, '{{subscription}}']],
        },
        {
          kind: 'lines',
          title: 'Lanes: queued',
          width: 12,
          unit: 'none',
          means:
            'Messages of each partition that wait for their turn. One line far above the others: a hot partition, or one that is held; spread the collection with partitionBy.',
          queries: [
            [
              `topk(20, sum by (subscription, partition) (tailrace_lane_queued{${SUBSCRIPTION}}))`,
              '{{subscription}} {{partition}}',
            ],
          ],
        },
        {
          kind: 'lines',
          title: 'Lanes: unconfirmed',
          width: 12,
          unit: 'none',
          means:
            'Messages of each partition sent and not yet confirmed. At sinks.NAME.window a lane waits for the broker; one alone there has a slow queue behind it.',
          queries: [
            [
              `topk(20, sum by (subscription, partition) (tailrace_lane_unconfirmed{${SUBSCRIPTION}}))`,
              '{{subscription}} {{partition}}',
            ],
          ],
        },
      ],
    },
    {
      title: 'Process',
      height: 8,
      charts: [
        {
          kind: 'lines',
          title: 'CPU',
          means:
            'Cores in use by the whole process, workers included. The main thread and the workers are not told apart here: event loop lag tells whether main is the limit.',
          unit: 'none',
          width: 6,
          queries: [
            [`sum by (instance) (rate(process_cpu_user_seconds_total{${I}}[$__rate_interval]))`, '{{instance}} user'],
            [
              `sum by (instance) (rate(process_cpu_system_seconds_total{${I}}[$__rate_interval]))`,
              '{{instance}} system',
            ],
          ],
        },
        {
          kind: 'lines',
          title: 'Memory',
          means:
            "Resident memory, and what main's heap and buffers hold of it. It is bounded whatever the broker does; growth that never levels off is a fault worth reporting.",
          unit: 'bytes',
          width: 6,
          queries: [
            [`max by (instance) (process_resident_memory_bytes{${I}})`, '{{instance}} resident'],
            [`max by (instance) (nodejs_heap_size_used_bytes{${I}})`, '{{instance}} heap'],
            [`max by (instance) (nodejs_external_memory_bytes{${I}})`, '{{instance}} buffers'],
          ],
        },
        {
          kind: 'lines',
          title: 'Event loop lag',
          means:
            "How late main's timers fire; they are looked at every 0.1 s, which is what rest shows. Above 0.2 s for long: the main thread is the limit; let messages hold more events (batch.maxEvents), or run subscriptions in an engine of their own.",
          unit: 's',
          width: 6,
          queries: [
            [`max by (instance) (nodejs_eventloop_lag_p99_seconds{${I}})`, '{{instance}} p99'],
            [`max by (instance) (nodejs_eventloop_lag_max_seconds{${I}})`, '{{instance}} max'],
          ],
        },
        {
          kind: 'lines',
          title: 'Garbage collection',
          means:
            "Share of main's time spent collecting. Above 10 %: memory is short, or messages are very small and many.",
          unit: 'percentunit',
          width: 6,
          queries: [[`sum by (kind) (rate(nodejs_gc_duration_seconds_sum{${I}}[$__rate_interval]))`, '{{kind}}']],
        },
      ],
    },
  ],
};
