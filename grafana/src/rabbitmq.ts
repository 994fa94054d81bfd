/** The broker, from both of its sides. */
import { INSTANCE, NODES, SUBSCRIPTION, SUBSCRIPTIONS } from './parts.ts';
import type { Board } from './parts.ts';

const NODE = 'instance=~"$node"';

export const rabbitmq: Board = {
  uid: 'tailrace-rabbitmq',
  title: 'Tailrace: RabbitMQ side',
  about: 'What the engine sees of the broker, beside what RabbitMQ tells of itself (its plugin rabbitmq_prometheus).',
  variables: [INSTANCE, SUBSCRIPTIONS, NODES],
  rows: [
    {
      title: 'As the engine sees it',
      height: 8,
      charts: [
        {
          kind: 'lines',
          title: 'Messages confirmed',
          means:
            'Messages the broker has taken over each second; with batch.maxEvents above 1 each holds many events. Falls to 0 while events are published: the broker has stopped confirming.',
          unit: 'ops',
          width: 8,
          queries: [
            [
              `sum by (subscription) (rate(tailrace_messages_confirmed_total{${SUBSCRIPTION}}[$__rate_interval]))`,
              '{{subscription}}',
            ],
          ],
        },
        {
          kind: 'lines',
          title: 'From publish to confirm',
          means:
            "How long the broker takes to confirm a message. In a catch-up it is mostly waiting in the window; on a quiet feed it is the broker's disk. Quorum queues take longer than classic ones.",
          unit: 's',
          width: 8,
          queries: [
            [
              `histogram_quantile(0.5, sum by (le, subscription) (rate(tailrace_publish_confirm_seconds_bucket{${SUBSCRIPTION}}[$__rate_interval])))`,
              '{{subscription}} p50',
            ],
            [
              `histogram_quantile(0.95, sum by (le, subscription) (rate(tailrace_publish_confirm_seconds_bucket{${SUBSCRIPTION}}[$__rate_interval])))`,
              '{{subscription}} p95',
            ],
            [
              `histogram_quantile(0.99, sum by (le, subscription) (rate(tailrace_publish_confirm_seconds_bucket{${SUBSCRIPTION}}[$__rate_interval])))`,
              '{{subscription}} p99',
            ],
          ],
        },
        {
          kind: 'lines',
          title: 'Returned and nacked',
          means:
            'Messages that reached no queue, and messages the broker refused, each second. Neither is lost: the lane holds and sends again. Not 0 for long: see Lanes held by reason.',
          unit: 'ops',
          width: 8,
          queries: [
            [
              `sum by (subscription) (rate(tailrace_messages_returned_total{${SUBSCRIPTION}}[$__rate_interval]))`,
              '{{subscription}} returned',
            ],
            [
              `sum by (subscription) (rate(tailrace_messages_nacked_total{${SUBSCRIPTION}}[$__rate_interval]))`,
              '{{subscription}} nacked',
            ],
          ],
        },
      ],
    },
    {
      title: 'The broker: messages',
      height: 8,
      charts: [
        {
          kind: 'lines',
          title: 'Published and confirmed',
          means:
            'Messages that RabbitMQ takes from all publishers and confirms to them. The two part: its queues or disks are behind, and the engine waits with them.',
          unit: 'ops',
          width: 8,
          queries: [
            [`sum(rate(rabbitmq_global_messages_received_total{${NODE}}[$__rate_interval]))`, 'received'],
            [`sum(rate(rabbitmq_global_messages_confirmed_total{${NODE}}[$__rate_interval]))`, 'confirmed'],
          ],
        },
        {
          kind: 'lines',
          title: 'Delivered to consumers',
          means:
            'Messages handed to consumers and acknowledged by them. Below what is published for long: queues grow until the broker blocks everybody. Add consumers.',
          unit: 'ops',
          width: 8,
          queries: [
            [`sum(rate(rabbitmq_global_messages_delivered_total{${NODE}}[$__rate_interval]))`, 'delivered'],
            [`sum(rate(rabbitmq_global_messages_acknowledged_total{${NODE}}[$__rate_interval]))`, 'acknowledged'],
          ],
        },
        {
          kind: 'lines',
          title: 'Messages in queues',
          means:
            'Messages ready for a consumer, and those delivered and not acknowledged, over all queues. A steady rise ends in an alarm of memory or disk.',
          unit: 'none',
          width: 8,
          queries: [
            [`sum(rabbitmq_queue_messages_ready{${NODE}})`, 'ready'],
            [`sum(rabbitmq_queue_messages_unacked{${NODE}})`, 'unacknowledged'],
          ],
        },
      ],
    },
    {
      title: 'The broker: resources',
      height: 8,
      charts: [
        {
          kind: 'lines',
          title: 'Memory',
          means:
            'What each node uses, and the limit at which it blocks publishers: then tailrace_sink_blocked is 1 and nothing is delivered. Free memory or raise the limit first.',
          unit: 'bytes',
          width: 8,
          queries: [
            [`rabbitmq_process_resident_memory_bytes{${NODE}}`, '{{instance}} used'],
            [`rabbitmq_resident_memory_limit_bytes{${NODE}}`, '{{instance}} limit'],
          ],
        },
        {
          kind: 'lines',
          title: 'Disk',
          means:
            'Free space of each node, and the limit below which it blocks publishers. Near each other: consume, or add disk, before the engine is held up.',
          unit: 'bytes',
          width: 8,
          queries: [
            [`rabbitmq_disk_space_available_bytes{${NODE}}`, '{{instance}} free'],
            [`rabbitmq_disk_space_available_limit_bytes{${NODE}}`, '{{instance}} limit'],
          ],
        },
        {
          kind: 'lines',
          title: 'Connections, channels and queues',
          means:
            'How many of each there are. A steady rise of connections or channels is a client that opens and does not close; compare with the engine’s reconnects.',
          unit: 'none',
          width: 8,
          queries: [
            [`sum(rabbitmq_connections{${NODE}})`, 'connections'],
            [`sum(rabbitmq_channels{${NODE}})`, 'channels'],
            [`sum(rabbitmq_queues{${NODE}})`, 'queues'],
          ],
        },
      ],
    },
  ],
};
