/** The files and the standard output that subscriptions write to, each opened once, whoever writes to it. */
import { StreamSink } from './stream-sink.ts';
import type { LanePort } from '../lanes/port.ts';
import type { StreamTarget } from './stream-sink.ts';

export class StreamSinks {
  /** By path; '' is standard output. */
  readonly #sinks = new Map<string, StreamSink>();

  lanePort(to: StreamTarget, format: string): LanePort {
    const key = to.kind === 'file' ? to.path : '';
    const sink = this.#sinks.get(key) ?? new StreamSink(to);
    this.#sinks.set(key, sink);
    return sink.lanePort({ lines: format !== 'bson' });
  }

  async close(): Promise<void> {
    await Promise.all([...this.#sinks.values()].map((sink) => sink.close()));
  }
}
