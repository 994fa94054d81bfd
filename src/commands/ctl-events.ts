/**
 * `tailrace ctl events`: what passes through a running engine, a line of JSON an event, until Ctrl-C. Who reads slowly, or pipes this
 * into something slow, is shown less, and never holds the engine.
 */
import { once } from 'node:events';
import { API_PATH } from '../api/path.ts';
import { listenToEngine } from './ask-engine.ts';
import { addressOfNamed } from './engine-address.ts';
import type { NamedEngine } from './engine-address.ts';
import { toStderr } from './output.ts';

export interface CtlEventsOptions extends NamedEngine {
  /** What was left out as lines on standard output, too. */
  readonly json: boolean;
  readonly subscription?: readonly string[];
  readonly ns?: readonly string[];
  readonly op?: readonly string[];
  readonly perSecond?: string;
  /** Ends after so many. */
  readonly count: number;
}

export async function ctlEvents({
  subscription,
  ns,
  op,
  perSecond,
  count,
  json,
  ...engine
}: CtlEventsOptions): Promise<number> {
  const query = new URLSearchParams();
  for (const [name, values = []] of Object.entries({ subscription, ns, op })) {
    for (const value of values) query.append(name, value);
  }
  if (perSecond !== undefined) query.set('perSecond', perSecond);
  const enough = new AbortController();
  // Whoever reads us may stop reading (`| head`): nothing is wrong then.
  process.stdout.on('error', () => enough.abort());
  const address = await addressOfNamed(engine);
  let shown = 0;
  for await (const { name, data } of messages(
    listenToEngine(address, `${API_PATH}/events?${query.toString()}`, enough.signal),
  )) {
    switch (name) {
      case '':
        await print(data, enough.signal);
        shown++;
        if (shown >= count) enough.abort();
        break;
      case 'skipped':
        if (json) await print(`{"skipped":${data}}`, enough.signal);
        else toStderr(`${leftOut(data)}\n`);
        break;
      case 'end':
        toStderr('The engine stops.\n');
        break;
    }
    if (enough.signal.aborted) break;
  }
  return 0;
}

/** Until there is room for more, or whoever reads has left. */
async function print(line: string, signal: AbortSignal): Promise<void> {
  if (process.stdout.write(`${line}\n`)) return;
  await once(process.stdout, 'drain', { signal }).catch(() => undefined);
}

function leftOut(data: string): string {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the engine's own answer
  const { overRate, slowReader } = JSON.parse(data) as { overRate: number; slowReader: number };
  const parts = [
    ...(overRate > 0 ? [`${overRate} more than --per-second allows`] : []),
    ...(slowReader > 0 ? [`${slowReader} while standard output was not read`] : []),
  ];
  return `Not shown: ${parts.join(', ')}.`;
}

interface Message {
  /** '' for an event. */
  readonly name: string;
  readonly data: string;
}

/** Server-sent events, as this engine writes them: each field on one line. */
async function* messages(chunks: AsyncIterable<string>): AsyncGenerator<Message> {
  let unread = '';
  for await (const chunk of chunks) {
    unread += chunk;
    const parts = unread.split('\n\n');
    unread = parts.pop() ?? '';
    for (const part of parts) {
      const fields = new Map(part.split('\n').map((line) => splitField(line)));
      const data = fields.get('data');
      if (data !== undefined) yield { name: fields.get('event') ?? '', data };
    }
  }
}

function splitField(line: string): readonly [string, string] {
  const colon = line.indexOf(': ');
  return colon < 0 ? [line, ''] : [line.slice(0, colon), line.slice(colon + 2)];
}
