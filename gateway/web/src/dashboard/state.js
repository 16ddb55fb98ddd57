// What the gateway runs on, and what went wrong since it began.

import { onSpeak, say } from '../language.js';
import { byId, element } from './element.js';
import { duration } from './format.js';

const REFUSALS_SHOWN = 8;

let now = null;

export function start() {
  onSpeak(write);
}

export function show(status) {
  now = status;
  write();
}

function write() {
  if (!now) return;
  byId('parts').replaceChildren(...parts(now).flatMap(([word, health, value]) => [
    element('dt', {}, say(word)),
    element('dd', { class: health }, element('span', { class: 'dot', 'aria-hidden': 'true' }), value),
  ]));
  const codes = Object.entries(now.refusals).sort(([, a], [, b]) => b - a).slice(0, REFUSALS_SHOWN);
  byId('refusals').replaceChildren(...codes.flatMap(([code, count]) => [element('dt', {}, element('code', {}, code)), element('dd', {}, String(count))]));
  byId('no-refusals').hidden = codes.length > 0;
}

/** Rows of word, `ok`, `bad`, `off` or `plain`, and value. */
function parts(status) {
  const uptime = Date.parse(status.now) - Date.parse(status.started_at);
  const on = status.hook === '-' ? status.backend : say('state.on', { backend: status.backend, hook: status.hook });
  const errors = (count) => (count > 0 ? say('state.errors', { count }) : '');
  const told = (value, count) => [value, errors(count)].filter(Boolean).join(', ');
  const filter = { ok: told(on, status.filter_errors), unavailable: say('state.unavailable'), none: say('state.no_filter') };
  const store = { ok: told(say('state.ok'), status.store_errors), unavailable: say('state.unavailable') };
  const rows = [
    ['state.filter', grade(status.filter, status.filter_errors), filter[status.filter]],
    ['state.steering', status.steering === 'ports' ? 'off' : 'ok', status.steering === 'ports' ? say('state.ports') : status.steering],
    ['state.store', grade(status.store, status.store_errors), store[status.store]],
    ['state.version', 'plain', status.version],
    ['state.uptime', 'plain', duration(uptime)],
    ['state.host', 'plain', status.broker_host],
    ['state.begun', 'plain', String(status.sessions_begun)],
    ['state.opened', 'plain', String(status.brokers_opened)],
  ];
  const bare = status.interfaces.filter((seat) => !seat.hook).map((seat) => seat.name);
  if (bare.length > 0) rows.splice(1, 0, ['state.unfiltered', 'bad', bare.join(', ')]);
  if (status.lost_records > 0) rows.push(['state.lost', 'bad', String(status.lost_records)]);
  return rows;
}

function grade(health, errors) {
  if (health === 'none') return 'off';
  if (health === 'unavailable') return 'bad';
  return errors > 0 ? 'fair' : 'ok';
}
