/** A chart over time of what the page has collected. The library that draws it comes when the first one is shown. */
import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type uPlot from 'uplot';
import { columns, samples } from '../state.ts';
import { isDark } from './theme.ts';

export interface Series {
  readonly label: string;
  readonly column: string;
  readonly isDashed?: boolean;
}

interface ChartProps {
  readonly title: string;
  readonly series: readonly Series[];
  readonly format: (value: number | null) => string;
  readonly minutes: number;
}

const HEIGHT = 168;
const COLOURS = 6;

export function Chart({ title, series, format, minutes }: ChartProps): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(undefined);
  const [at, setAt] = useState<number>();
  const key = JSON.stringify([series, minutes]);
  const dark = isDark.value;

  useEffect(() => {
    const { current: element } = box;
    if (!element) return;
    let isGone = false;
    let chart: uPlot | undefined;
    const sizes = new ResizeObserver(() => chart?.setSize({ width: element.clientWidth, height: HEIGHT }));
    void import('uplot').then(({ default: UPlot }) => {
      if (isGone) return;
      chart = new UPlot(optionsOf(element, { series, format, minutes, onPoint: setAt }), dataOf(series), element);
      plot.current = chart;
      sizes.observe(element);
    });
    return () => {
      isGone = true;
      sizes.disconnect();
      chart?.destroy();
      plot.current = undefined;
    };
  }, [key, dark]);

  const { value: seen } = samples;
  useEffect(() => plot.current?.setData(dataOf(series)), [seen, key]);

  const values = series.map(({ label, column }) => {
    const all = columns.of(column);
    const value = all[at ?? all.length - 1] ?? null;
    return { label, text: format(value) };
  });
  return (
    <figure class="chart">
      <figcaption>
        <h3>{title}</h3>
        <ul class="legend">
          {values.map(({ label, text }, n) => (
            <li key={label}>
              <i class={`c${n % COLOURS}${series[n]?.isDashed === true ? ' dashed' : ''}`} aria-hidden="true" />
              {label} <b>{text}</b>
            </li>
          ))}
        </ul>
      </figcaption>
      <div ref={box} class="plot" aria-hidden="true" />
    </figure>
  );
}

function dataOf(series: readonly Series[]): uPlot.AlignedData {
  return [columns.at, ...series.map(({ column }) => columns.of(column) as (number | null)[])];
}

interface Drawn extends Omit<ChartProps, 'title'> {
  readonly onPoint: (at: number | undefined) => void;
}

function optionsOf(element: HTMLElement, { series, format, minutes, onPoint }: Drawn): uPlot.Options {
  const colour = colours(element);
  const axis: uPlot.Axis = {
    stroke: colour('--muted'),
    font: `11px ${getComputedStyle(element).fontFamily}`,
    grid: { stroke: colour('--grid'), width: 1 },
    ticks: { show: false },
  };
  return {
    width: element.clientWidth,
    height: HEIGHT,
    padding: [8, 28, 0, 0],
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
    scales: {
      x: { time: true, range: () => shownOf(minutes) },
      y: { range: (_, __, max) => [0, Math.max(max * 1.1, 1)] },
    },
    axes: [
      { ...axis, size: 26, space: 80, values: '{HH}:{mm}:{ss}' },
      { ...axis, size: 64, space: 32, values: (_, splits) => splits.map((value) => format(value)) },
    ],
    series: [
      {},
      ...series.map(({ label, isDashed = false }, n) => ({
        label,
        stroke: colour(`--c${n % COLOURS}`),
        width: 1.75,
        ...(isDashed && { dash: [5, 4] }),
        points: { show: false },
      })),
    ],
    hooks: { setCursor: [({ cursor: { idx } }) => onPoint(idx ?? undefined)] },
  };
}

/** So many minutes; at first what there is, and a minute at least. */
function shownOf(minutes: number): [from: number, to: number] {
  const now = Date.now() / 1000;
  const [first = now] = columns.at;
  return [Math.max(now - minutes * 60, Math.min(first, now - 60)), now];
}

/** As a canvas takes them: a variable is resolved only where it is used. */
function colours(element: HTMLElement): (name: string) => string {
  return (name) => {
    const probe = document.createElement('i');
    probe.style.color = `var(${name})`;
    element.append(probe);
    const { color } = getComputedStyle(probe);
    probe.remove();
    return color;
  };
}
