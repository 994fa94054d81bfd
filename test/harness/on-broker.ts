/** Does something with a broker as its operator would, over a connection of its own. */
import { connect } from 'amqplib';
import type { Channel } from 'amqplib';

export async function onBroker<T>(uri: string, use: (channel: Channel) => Promise<T>): Promise<T> {
  const connection = await connect(uri);
  try {
    return await use(await connection.createChannel());
  } finally {
    await connection.close();
  }
}
