/** Limits that are not ours. */

/** AMQP 0-9-1's short string: names of exchanges and queues, routing keys, message ids. In bytes of UTF-8. */
export const MAX_SHORT_STRING = 255;

/** RabbitMQ's hard limit on a message (`max_message_size` cannot be set higher), in bytes. */
export const MAX_AMQP_MESSAGE_BYTES = 512 * 2 ** 20;
