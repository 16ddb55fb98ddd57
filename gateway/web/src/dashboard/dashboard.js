// The dashboard: one key, one stream of events, one question for figures, and what is made of them.

import { choose, offer, onSpeak, say, speak } from '../language.js';
import * as actions from './actions.js';
import { forgetKey, hasKey } from './api.js';
import * as columns from './columns.js';
import { byId } from './element.js';
import * as feed from './feed.js';
import * as figures from './figures.js';
import { List, Newest } from './list.js';
import * as login from './login.js';
import * as navigation from './navigation.js';
import * as state from './state.js';
import { listen } from './stream.js';
import { View } from './view.js';
import './words.js';

// Bytes of sessions move without an event.
const MOVED_MS = 4000;
const SECOND_MS = 1000;

const over = new AbortController();
// How far the gateway's clock is ahead of ours.
let ahead = 0;
const clock = () => Date.now() + ahead;

const is = (state) => (session) => session.state === state;
const lists = {
  brokers: new List({ path: 'v1/brokers', id: 'broker_id' }),
  sessions: new List({ path: 'v1/sessions', id: 'session_id', query: { state: 'live' }, keep: is('live') }),
  past: new Newest({ path: 'v1/sessions', id: 'session_id', query: { state: 'ended' }, keep: is('ended') }),
  instances: new List({ path: 'v1/instances', id: 'instance_id' }),
};
const tables = {
  brokers: { columns: columns.brokers(clock), sort: 'instance_id', action: { word: 'actions.close', name: 'actions.close_name', act: actions.close } },
  sessions: { columns: columns.sessions(clock), sort: 'started_at', action: { word: 'actions.kill', name: 'actions.kill_name', act: actions.kill } },
  past: { columns: columns.past(), sort: 'ended_at', descending: true },
  instances: { columns: columns.instances(), sort: 'instance_id', action: { word: 'actions.open', name: 'actions.open_name', act: actions.open } },
};
const views = {};
for (const [name, list] of Object.entries(lists)) {
  views[name] = new View(name, list, { ...tables[name], id: list.id });
  list.onChanged = () => views[name].refresh();
}

for (const part of [figures, state, feed, login]) part.start();
offer(byId('language'));
onSpeak(() => { document.title = `${location.host} - ${say('page.title')}`; });
onSpeak(sayConnection);
speak(choose(navigator.languages));
byId('host').textContent = location.host;
byId('leave').addEventListener('click', () => {
  forgetKey();
  location.reload();
});
if (hasKey()) enter();
else login.show();

function enter() {
  connection('loading');
  byId('shell').hidden = false;
  const { signal } = over;
  listen({ onOpen: readAll, onEvent: take, onDown: down, signal });
  figures.watch({ tell: takeFigures, fail: down, signal });
  navigation.start((part) => {
    views[part]?.paint();
    // Of these there may be very many, and not everybody asks for them.
    if (lists[part]?.state === 'unread') lists[part].read();
    if (part === 'sessions') lists.sessions.read();
  });
  setInterval(() => views[navigation.current()]?.paint(), SECOND_MS);
  setInterval(() => { if (navigation.current() === 'sessions' && !document.hidden) lists.sessions.read(); }, MOVED_MS);
}

/** What was known may be old. */
function readAll() {
  for (const name of ['brokers', 'sessions']) lists[name].read();
  for (const name of ['past', 'instances']) if (lists[name].state !== 'unread') lists[name].read();
}

function take(event) {
  feed.add(event);
  const { event: what, broker_id: broker, session_id: session, instance_id: instance } = event;
  if (what === 'broker.closed') lists.brokers.forget(broker);
  else if (broker) lists.brokers.look(broker);
  if (session) for (const name of ['sessions', 'past']) lists[name].look(session);
  if (what === 'instance.put' || what === 'certificate.forgotten') lists.instances.look(instance);
  if (what === 'instance.removed') lists.instances.forget(instance);
}

function takeFigures(status) {
  ahead = Date.parse(status.now) - Date.now();
  byId('sessions-count').textContent = status.sessions_live;
  byId('brokers-count').textContent = status.brokers_open;
  state.show(status);
  connection('ready');
}

function down(problem) {
  if (!problem?.isOfKey) return connection('away');
  over.abort();
  for (const list of Object.values(lists)) list.stop();
  forgetKey();
  login.show(problem);
}

function connection(now) {
  if (over.signal.aborted) return;
  document.body.dataset.state = now;
  sayConnection();
}

function sayConnection() {
  const now = document.body.dataset.state;
  if (now !== 'login') byId('connection').textContent = say(`page.${now}`);
}
