/** Every dashboard: the file's name, and its JSON. */
import { overview } from './overview.ts';
import { draw } from './parts.ts';
import { pipeline } from './pipeline.ts';
import { rabbitmq } from './rabbitmq.ts';

export function dashboards(): Map<string, string> {
  return new Map(
    [overview, pipeline, rabbitmq].map((board) => [
      `${board.uid}.json`,
      `${JSON.stringify(draw(board), undefined, 2)}\n`,
    ]),
  );
}
