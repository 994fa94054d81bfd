/**
 * The path of the data, drawn live: sources, workers, subscriptions with their lanes, and where they deliver to. Boxes are links in reading
 * order; the lines between them are drawn behind, for the eye alone.
 */
import type { ComponentChildren, JSX } from 'preact';
import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import { bytes, count, percent, perSecond, seconds } from '../format.ts';
import type { Rates } from '../history.ts';
import { href } from '../router.ts';
import type { StatusReport, SubscriptionStatus } from '../types.ts';
import { Badge, toneOf } from '../ui/parts.tsx';
import type { Tone } from '../ui/parts.tsx';
import { summed } from './holds.ts';

/** More would be a list, and that is a page of its own. */
const MOST_SHOWN = 8;

interface FlowProps {
  readonly status: StatusReport;
  readonly rates: Rates | undefined;
  /** By subscription; undefined where the definitions are not known yet. */
  readonly sinkOf: ReadonlyMap<string, string | null> | undefined;
}

interface Edge {
  readonly from: string;
  readonly to: string;
  readonly rate: number;
  readonly tone: Tone;
}

export function Flow({ status, rates, sinkOf }: FlowProps): JSX.Element {
  const sources = Object.entries(status.sources);
  const sinks = Object.entries(status.sinks);
  const all = Object.entries(status.subscriptions).sort(
    ([a, one], [b, other]) => weight(other) - weight(one) || (a < b ? -1 : 1),
  );
  const shown = all.slice(0, MOST_SHOWN);
  const rest = all.length - shown.length;
  const published = rates?.eventsPublished ?? {};
  const edges: Edge[] = [
    ...sources.map(([name, { state }]) => ({
      from: `source/${name}`,
      to: 'workers',
      rate: rates?.entriesRead[name] ?? 0,
      tone: state === 'held' ? ('warn' as const) : toneOf(state),
    })),
    ...shown.map(([name, { state }]) => ({
      from: 'workers',
      to: `subscription/${name}`,
      rate: published[name] ?? 0,
      tone: toneOf(state),
    })),
    ...shown.map(([name, { state }]) => ({
      from: `subscription/${name}`,
      to: `sink/${sinkOf?.get(name) ?? ''}`,
      rate: rates?.messagesConfirmed[name] ?? 0,
      tone: toneOf(state),
    })),
  ];
  const hasOwn = shown.some(([name]) => sinkOf?.get(name) === null);
  return (
    <Drawn edges={edges}>
      <Column title="Read">
        {sources.map(([name, one]) => (
          <Node key={name} id={`source/${name}`} to={href('sources', name)} name={name} state={one.state}>
            <b>{perSecond(rates?.entriesRead[name])}</b>
            <span>{rates ? `${bytes(rates.bytesRead[name])}/s` : ''}</span>
            <span>lag {seconds(one.lagSeconds)}</span>
            <span>{bytes(one.inFlightBytes)} in flight</span>
          </Node>
        ))}
      </Column>
      <Column title="Decode">
        <li class="node" data-node="workers">
          <span class="name">workers</span>
          <div class="facts">
            <b>
              {count(status.workers.threads)} {status.workers.threads === 1 ? 'thread' : 'threads'}
            </b>
            <span>{rates?.cpu === null || rates === undefined ? '' : `${rates.cpu.toFixed(2)} cores`}</span>
            <span>main thread {percent(rates?.mainBusy)} busy</span>
            <span>{bytes(status.process.residentBytes)}</span>
          </div>
        </li>
      </Column>
      <Column title="Lanes">
        {shown.map(([name, one]) => {
          const { queued, unconfirmed, held } = summed(one.lanes);
          return (
            <Node key={name} id={`subscription/${name}`} to={href('subscriptions', name)} name={name} state={one.state}>
              <b>{perSecond(published[name])}</b>
              <span>lag {seconds(one.lagSeconds)}</span>
              <span>{count(queued)} queued</span>
              <span>{count(unconfirmed)} unconfirmed</span>
              {held > 0 && (
                <span class="trouble">
                  {held} of {one.lanes.length} lanes held
                </span>
              )}
              {one.detached && <span class="trouble">reads by itself</span>}
            </Node>
          );
        })}
        {rest > 0 && (
          <li class="more">
            <a href={href('subscriptions')}>and {count(rest)} more</a>
          </li>
        )}
      </Column>
      <Column title="Confirmed">
        {sinks.map(([name, one]) => (
          <Node
            key={name}
            id={`sink/${name}`}
            to={href('sinks', name)}
            name={name}
            state={one.blocked === null ? one.state : 'blocked'}
          >
            <b>{perSecond(confirmedBy(name, rates, sinkOf))}</b>
            <span>messages confirmed</span>
            {one.blocked !== null && <span class="trouble">{one.blocked}</span>}
          </Node>
        ))}
        {(hasOwn || sinks.length === 0) && (
          <li class="node" data-node="sink/">
            <span class="name">output and files</span>
          </li>
        )}
      </Column>
    </Drawn>
  );
}

/** What is in trouble first, then what moves. */
function weight({ state, detached, lagSeconds }: SubscriptionStatus): number {
  return (state === 'held' || state === 'stopped' ? 1e9 : 0) + (detached ? 1e8 : 0) + Math.min(lagSeconds ?? 0, 1e7);
}

function confirmedBy(sink: string, rates: Rates | undefined, sinkOf: FlowProps['sinkOf']): number | null {
  if (!rates || !sinkOf) return null;
  let sum = 0;
  for (const [name, rate] of Object.entries(rates.messagesConfirmed)) if (sinkOf.get(name) === sink) sum += rate;
  return sum;
}

function Column({ title, children }: { title: string; children: ComponentChildren }): JSX.Element {
  return (
    <section>
      <h3>{title}</h3>
      <ul>{children}</ul>
    </section>
  );
}

interface NodeProps {
  readonly id: string;
  readonly to: string;
  readonly name: string;
  readonly state: string;
  readonly children: ComponentChildren;
}

function Node({ id, to, name, state, children }: NodeProps): JSX.Element {
  return (
    <li class={`node ${toneOf(state)}`} data-node={id}>
      <span class="name">
        <a href={to}>{name}</a>
        <Badge state={state} />
      </span>
      <div class="facts">{children}</div>
    </li>
  );
}

interface Line {
  readonly path: string;
  readonly edge: Edge;
}

/** Draws the lines from where the boxes have come to lie. */
function Drawn({ edges, children }: { edges: readonly Edge[]; children: ComponentChildren }): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const [lines, setLines] = useState<readonly Line[]>([]);
  const [size, setSize] = useState(0);
  useLayoutEffect(() => {
    const { current: element } = box;
    if (!element) return;
    const watch = new ResizeObserver(() => setSize((n) => n + 1));
    watch.observe(element);
    return () => watch.disconnect();
  }, []);
  const key = JSON.stringify(edges.map(({ from, to, tone, rate }) => [from, to, tone, width(rate)]));
  useLayoutEffect(() => {
    const { current: element } = box;
    if (element) setLines(linesOf(element, edges));
  }, [key, size]);
  return (
    <div class="flow" ref={box}>
      <svg aria-hidden="true">
        {lines.map(({ path, edge }) => (
          <g key={`${edge.from} ${edge.to}`} class={edge.tone}>
            <path d={path} stroke-width={width(edge.rate)} />
            {edge.rate > 0 && <path d={path} class="moving" stroke-width={width(edge.rate)} />}
          </g>
        ))}
      </svg>
      {children}
    </div>
  );
}

/** A thousand times as much is twice as thick. */
function width(rate: number): number {
  return Math.round((1.5 + Math.log10(1 + rate) * 0.6) * 2) / 2;
}

function linesOf(element: HTMLElement, edges: readonly Edge[]): Line[] {
  const origin = element.getBoundingClientRect();
  const nodes = new Map<string, DOMRect>();
  for (const node of element.querySelectorAll<HTMLElement>('[data-node]')) {
    nodes.set(node.dataset['node'] ?? '', node.getBoundingClientRect());
  }
  return edges.flatMap((edge) => {
    const from = nodes.get(edge.from);
    const to = nodes.get(edge.to);
    // One above the other, as on a phone: the order of the boxes says it.
    if (!from || !to || to.left < from.right) return [];
    const [x1, y1] = [from.right - origin.left, from.top + from.height / 2 - origin.top];
    const [x2, y2] = [to.left - origin.left, to.top + to.height / 2 - origin.top];
    const bend = (x2 - x1) / 2;
    return [{ edge, path: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}` }];
  });
}
