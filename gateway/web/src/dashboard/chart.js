// A small chart: areas and lines over the last five minutes, the scale at its right, and values under the pointer.

import { onSpeak, say } from '../language.js';
import { element } from './element.js';
import { clock, duration } from './format.js';
import { roundUp } from './history.js';

const SVG = 'http://www.w3.org/2000/svg';
const [WIDTH, HEIGHT] = [300, 100];

export class Chart {
  #series;
  #show;
  #base;
  #title;
  #graph = svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' });
  #cursor = svg('line', { class: 'cursor', y1: 0, y2: HEIGHT });
  #figures;
  #scale = element('span', { class: 'scale' });
  #when = element('span', { class: 'when' });
  #heading = element('h2');
  #drawn = [];
  #span = 0;
  #pointed = null;

  /**
   * In `place`. `series` are `{word, read}`, `read` giving points of a History; `show` writes a value; `base` is 1024
   * for bytes.
   */
  constructor(place, { title, series, show, base = 10 }) {
    [this.#title, this.#series, this.#show, this.#base] = [title, series, show, base];
    this.#figures = series.map(() => ({ name: element('dt'), value: element('dd') }));
    const figures = element('dl', {}, ...this.#figures.map(({ name, value }, index) => element('div', { class: `series-${index}` }, name, value)));
    const plot = element('div', { class: 'plot' }, this.#graph, this.#scale, this.#when);
    place.append(element('section', { class: 'tile chart' }, this.#heading, figures, plot));
    plot.addEventListener('pointermove', ({ clientX }) => this.#point(clientX));
    plot.addEventListener('pointerleave', () => this.#point(null));
    onSpeak(() => this.#name());
  }

  draw(history) {
    this.#span = history.span;
    this.#drawn = this.#series.map(({ read }) => read(history));
    const peak = Math.max(...this.#drawn.flat().map(({ y }) => y), 0);
    const top = roundUp(peak, this.#base);
    this.#graph.replaceChildren(
      ...[0.25, 0.5, 0.75].map((at) => svg('line', { class: 'grid', x1: 0, x2: WIDTH, y1: HEIGHT * at, y2: HEIGHT * at })),
      ...this.#drawn.flatMap((points, index) => curve(points, top, index)),
      this.#cursor,
    );
    this.#scale.textContent = this.#show(top);
    this.#write();
  }

  #point(clientX) {
    const { left, width } = this.#graph.getBoundingClientRect();
    this.#pointed = clientX === null ? null : (clientX - left) / width;
    this.#write();
  }

  /** The values of now, or those under the pointer. */
  #write() {
    const chosen = this.#drawn.map((points) => nearest(points, this.#pointed ?? 1));
    this.#figures.forEach(({ value }, index) => {
      value.textContent = chosen[index] ? this.#show(chosen[index].y) : '–';
    });
    const at = this.#pointed === null ? null : chosen[0];
    this.#cursor.classList.toggle('shown', Boolean(at));
    if (at) for (const end of ['x1', 'x2']) this.#cursor.setAttribute(end, at.x * WIDTH);
    this.#when.textContent = at ? clock(performance.timeOrigin + at.at) : say('figures.span', { time: duration(this.#span) });
  }

  #name() {
    this.#heading.textContent = say(this.#title);
    this.#series.forEach(({ word }, index) => { this.#figures[index].name.textContent = say(word); });
    this.#write();
  }
}

function nearest(points, x) {
  return points.reduce((best, point) => (best && Math.abs(best.x - x) <= Math.abs(point.x - x) ? best : point), undefined);
}

function curve(points, top, index) {
  if (points.length < 2) return [];
  const place = ({ x, y }) => `${(x * WIDTH).toFixed(1)},${(HEIGHT * (1 - y / top)).toFixed(1)}`;
  const line = `M${points.map(place).join('L')}`;
  const [first, last] = [points[0], points.at(-1)].map(({ x }) => (x * WIDTH).toFixed(1));
  return [
    svg('path', { class: `area series-${index}`, d: `${line}L${last},${HEIGHT}L${first},${HEIGHT}Z` }),
    svg('path', { class: `line series-${index}`, d: line }),
  ];
}

function svg(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
