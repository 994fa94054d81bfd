/** What comes on a queue while it comes: what it is, and how long nothing did. */
import { connect } from 'amqplib';
import { idsIn } from './queue-reader.ts';

export class Arrivals implements AsyncDisposable {
  readonly #messages: { readonly content: Buffer; readonly contentType: string }[] = [];
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
        arrivals.#messages.push({ content: message!.content, contentType: message!.properties.contentType as string });
      },
      { noAck: true },
    );
    return arrivals;
  }

  private constructor(close: () => Promise<void>) {
    this.#close = close;
  }

  /** Of the events, in the order in which they came. Looked for only here: that takes longer than receiving them. */
  get ids(): string[] {
    return this.#messages.flatMap(({ content, contentType }) => idsIn(content, contentType));
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }
}
