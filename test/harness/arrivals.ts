/** What comes on a queue while it comes: what it is, and how long nothing did. */
import { connect } from 'amqplib';

export class Arrivals implements AsyncDisposable {
  readonly ids: string[] = [];
  /** The longest time without any, set back by who asks. */
  longestMs = 0;
  readonly #close: () => Promise<void>;
  #closed: Promise<void> | undefined;

  static async of(uri: string, queue: string): Promise<Arrivals> {
    const connection = await connect(uri);
    const channel = await connection.createChannel();
    const arrivals = new Arrivals(async () => connection.close());
    let last = performance.now();
    await channel.consume(
      queue,
      (message) => {
        const now = performance.now();
        arrivals.longestMs = Math.max(arrivals.longestMs, now - last);
        last = now;
        const { _id: id } = JSON.parse(message!.content.toString()) as { _id: string };
        arrivals.ids.push(id.slice(id.indexOf(':') + 1));
      },
      { noAck: true },
    );
    return arrivals;
  }

  private constructor(close: () => Promise<void>) {
    this.#close = close;
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }
}
