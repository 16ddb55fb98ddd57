// The gateway's figures: asked for every other second, drawn, and told to the rest of the page.

import { call } from './api.js';
import { Chart } from './chart.js';
import { byId } from './element.js';
import { bytesPerSecond, perSecond } from './format.js';
import { History } from './history.js';

const EVERY_MS = 2000;

const level = (name) => (history) => history.levels((values) => values[name]);
const rate = (name) => (history) => history.rates((values) => values[name]);
const verdicts = (...names) => (history) => history.rates(({ verdicts: seen }) => seen && names.reduce((sum, name) => sum + seen[name], 0));
const whole = (value) => String(Math.round(value));

const CHARTS = [
  { title: 'figures.sessions', show: whole, series: [{ word: 'figures.live', read: level('sessions_live') }] },
  { title: 'figures.brokers', show: whole, series: [{ word: 'figures.open', read: level('brokers_open') }] },
  {
    title: 'figures.traffic',
    show: bytesPerSecond,
    base: 1024,
    series: [{ word: 'figures.down', read: rate('down_bytes') }, { word: 'figures.up', read: rate('up_bytes') }],
  },
  {
    title: 'figures.filter',
    show: perSecond,
    series: [{ word: 'figures.let_in', read: verdicts('open') }, { word: 'figures.dropped', read: verdicts('closed', 'expired', 'wrong_source', 'rate_limited') }],
  },
];

const history = new History();
let charts = [];

export function start() {
  charts = CHARTS.map((chart) => new Chart(byId('charts'), chart));
}

/** Asks until `signal`; `tell` hears each answer, `fail` each problem. */
export async function watch({ tell, fail, signal }) {
  while (!signal.aborted) {
    try {
      const status = await call('v1/status', { signal });
      history.add(performance.now(), status);
      for (const chart of charts) chart.draw(history);
      tell(status);
    } catch (problem) {
      if (!signal.aborted) fail(problem);
    }
    await new Promise((resolve) => { setTimeout(resolve, EVERY_MS); });
  }
}
