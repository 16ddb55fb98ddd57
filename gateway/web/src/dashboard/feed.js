// The last events, the newest first.

import { onSpeak, say, table } from '../language.js';
import { endWords } from './columns.js';
import { byId, element } from './element.js';
import { clock } from './format.js';

const SHOWN = 100;
// A burst is written at once.
const WRITE_MS = 200;

const events = [];
let timer = null;

export function start() {
  onSpeak(write);
}

export function add(event) {
  events.unshift(event);
  events.length = Math.min(events.length, SHOWN);
  timer ??= setTimeout(write, WRITE_MS);
}

function write() {
  clearTimeout(timer);
  timer = null;
  byId('no-events').hidden = events.length > 0;
  byId('events').replaceChildren(...events.map(line));
}

function line(event) {
  const kind = event.event.replace('.', '_');
  const words = table().events;
  const about = [event.endpoint, event.client && say('feed.from', event), event.reason && endWords(event.reason)].filter(Boolean);
  return element(
    'li',
    { class: kind },
    element('time', { datetime: event.time }, clock(event.time)),
    element('span', { class: 'what' }, Object.hasOwn(words, kind) ? words[kind] : event.event),
    element('span', { class: 'whom' }, event.instance_id ?? ''),
    element('span', { class: 'about' }, about.join(' · ')),
  );
}
