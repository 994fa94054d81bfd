/** Limits that are not ours. */

/** AMQP 0-9-1's short string: names of exchanges and queues, routing keys, message ids. In bytes of UTF-8. */
export const MAX_SHORT_STRING = 255;

/**
 * A message's headers, with its other properties, must fit into one frame, and every broker takes frames of 4,096 bytes: names,
 * values and six bytes for each of them.
 */
export const MAX_HEADER_BYTES = 3_500;

/** RabbitMQ's hard limit on a message (`max_message_size` cannot be set higher), in bytes. */
export const MAX_AMQP_MESSAGE_BYTES = 512 * 2 ** 20;

/** Where neither a subscription nor its source says how snapshots are read. */
export const DEFAULT_SNAPSHOT = { parallel: 2, maxRate: undefined, share: 0.5 } as const;
