// A list that is kept true, against an API that is not there.

import assert from 'node:assert/strict';
import test, { beforeEach } from 'node:test';

const stored = new Map();
globalThis.sessionStorage = {
  getItem: (name) => stored.get(name) ?? null,
  setItem: (name, value) => stored.set(name, value),
  removeItem: (name) => stored.delete(name),
};
// Pauses are over at once.
const { setTimeout: later } = globalThis;
globalThis.setTimeout = (act) => later(act, 0);

const { Problem, call, hasKey, useKey } = await import('../../src/dashboard/api.js');
const { List, Newest } = await import('../../src/dashboard/list.js');

let asked;
let answer;
globalThis.fetch = async (path, options) => {
  asked.push({ path, ...options });
  const { status = 200, body = {} } = await answer(path);
  return new Response(status === 204 ? null : JSON.stringify(body), { status });
};
beforeEach(() => {
  asked = [];
  useKey('secret');
});

const names = (list) => [...list.items.keys()];
const brokers = () => new List({ path: 'v1/brokers', id: 'broker_id' });
const item = (id) => ({ broker_id: id });

/** Waits for `done` of a list, which says whenever it has changed. */
function until(list, done) {
  return new Promise((resolve) => {
    list.onChanged = () => { if (done()) resolve(); };
  });
}

test('the whole list is read page by page, with the key in the header alone', async () => {
  answer = (path) => ({ body: path.includes('after=b-1') ? { items: [item('b-2')] } : { items: [item('b-1')], next: 'b-1' } });
  const list = brokers();
  list.read();
  await until(list, () => list.state === 'ready');
  assert.deepEqual(names(list), ['b-1', 'b-2']);
  for (const { path, headers } of asked) {
    assert.equal(headers['X-API-Key'], 'secret');
    assert.ok(!path.includes('secret'));
  }
});

test('one that changed is looked at, and one that is gone goes', async () => {
  answer = (path) => ({
    'v1/brokers/b-1': { status: 404, body: { code: 'no_broker' } },
    'v1/brokers/b-3': { body: item('b-3') },
  }[path] ?? { body: { items: [item('b-1'), item('b-2')] } });
  const list = brokers();
  list.look('b-9');
  assert.equal(asked.length, 0, 'nothing is asked before the list is read');
  list.read();
  await until(list, () => list.state === 'ready');
  list.look('b-1');
  list.look('b-3');
  await until(list, () => names(list).join() === 'b-2,b-3');
});

test('one that is gone stays gone, also where an older answer still has it', async () => {
  let late;
  answer = () => late ?? { body: { items: [item('b-1'), item('b-2')] } };
  const list = brokers();
  list.read();
  await until(list, () => list.state === 'ready');
  late = new Promise((resolve) => {
    list.onChanged = () => resolve({ body: { items: [item('b-1'), item('b-2')] } });
  });
  const before = asked.length;
  list.read();
  while (asked.length === before) await new Promise((resolve) => { setTimeout(resolve); });
  list.forget('b-1');
  assert.deepEqual(names(list), ['b-2']);
  await until(list, () => true);
  assert.deepEqual(names(list), ['b-2']);
});

test('many changes are read with the whole list', async () => {
  answer = () => ({ body: { items: [item('b-1')] } });
  const list = brokers();
  list.read();
  await until(list, () => list.state === 'ready');
  const before = asked.length;
  for (let count = 0; count < 100; count += 1) list.look(`b-${count}`);
  await until(list, () => asked.length > before);
  assert.ok(asked.length <= before + 2, `${asked.length - before} questions`);
});

test('what cannot be read is tried again, and what was known stays', async () => {
  let good = true;
  answer = () => (good ? { body: { items: [item('b-1')] } } : { status: 503, body: { code: 'store_unavailable', detail: 'no' } });
  const list = brokers();
  list.read();
  await until(list, () => list.state === 'ready');
  good = false;
  list.read();
  await until(list, () => list.problem?.code === 'store_unavailable');
  assert.deepEqual(names(list), ['b-1']);
  good = true;
  await until(list, () => list.problem === null);
});

test('a session that ended belongs to the past', async () => {
  const session = (state) => ({ session_id: 's-1', state });
  let state = 'live';
  answer = (path) => ({ body: path.includes('?') ? { items: state === 'live' ? [session('live')] : [] } : session(state) });
  const is = (wanted) => (one) => one.state === wanted;
  const live = new List({ path: 'v1/sessions', id: 'session_id', query: { state: 'live' }, keep: is('live') });
  live.read();
  await until(live, () => live.state === 'ready');
  state = 'ended';
  live.look('s-1');
  await until(live, () => live.items.size === 0);
});

test('the newest come first, and older ones when they are asked for', async () => {
  const page = (ids, next) => ({ body: { items: ids.map((id) => ({ session_id: id })), next } });
  answer = (path) => (path.includes('after=s-1') ? page(['s-2']) : page(['s-1'], 's-1'));
  const past = new Newest({ path: 'v1/sessions', id: 'session_id', query: { state: 'ended', order: 'newest' } });
  past.read();
  await until(past, () => past.state === 'ready');
  assert.deepEqual([names(past), past.next], [['s-1'], 's-1']);
  await past.readOlder();
  assert.deepEqual([names(past), past.next], [['s-1', 's-2'], undefined]);
});

test('a refusal is a problem with its code, also where no document came', async () => {
  const refused = (wanted) => (problem) => problem instanceof Problem && problem.code === wanted;
  answer = () => ({ status: 401, body: { code: 'wrong_key', detail: 'this is not the API key' } });
  await assert.rejects(call('v1/status'), (problem) => refused('wrong_key')(problem) && problem.isOfKey);
  answer = () => ({ status: 502, body: 'Bad Gateway' });
  await assert.rejects(call('v1/status'), refused('unknown'));
  answer = () => { throw new TypeError('no network'); };
  await assert.rejects(call('v1/status'), refused('unreachable'));
});

test('a key that no header can carry is wrong before it is sent', async () => {
  useKey('钥匙');
  await assert.rejects(call('v1/status'), ({ code, isOfKey }) => code === 'wrong_key' && isOfKey);
  assert.equal(asked.length, 0);
  assert.ok(hasKey());
});
