// Searching, sorting, and reading what the gateway streams.

import assert from 'node:assert/strict';
import test from 'node:test';
import { matching, natural, sorted } from '../../src/dashboard/order.js';
import { parser } from '../../src/dashboard/sse.js';

const named = (...names) => names.map((id) => ({ id }));
const ids = (items) => items.map(({ id }) => id);

test('numbers in names count as numbers', () => {
  const order = sorted(named('i-10', 'i-9', 'I-1'), ({ id }) => natural(id), ({ id }) => id, false);
  assert.deepEqual(ids(order), ['I-1', 'i-9', 'i-10']);
});

test('what is equal stands in the order of ids, whichever way is sorted', () => {
  const items = named('c', 'a', 'b');
  for (const descending of [false, true]) {
    assert.deepEqual(ids(sorted(items, () => 7, ({ id }) => id, descending)), ['a', 'b', 'c']);
  }
  assert.deepEqual(ids(items), ['c', 'a', 'b'], 'the source stays as it is');
});

test('all words have to be there, in any order and case', () => {
  const items = named('web 10.0.0.1', 'web 10.0.0.2', 'db 10.0.0.1');
  const found = (query) => ids(matching(items, query, ({ id }) => id));
  assert.deepEqual(found('0.1 WEB'), ['web 10.0.0.1']);
  assert.deepEqual(found('  '), ids(items));
  assert.deepEqual(found('.*'), []);
});

test('events are read whole, wherever the stream is cut', () => {
  const text = ': hello\n\nevent: session.began\ndata: {"a":1}\n\nevent:lost\r\ndata:3\r\n\r\ndata: x\ndata: y\n\nevent: cut\ndata: off\n';
  const expected = [['session.began', '{"a":1}'], ['lost', '3'], ['message', 'x\ny']];
  for (let cut = 0; cut <= text.length; cut += 1) {
    const events = [];
    const feed = parser((name, data) => events.push([name, data]));
    feed(text.slice(0, cut));
    feed(text.slice(cut));
    assert.deepEqual(events, expected, String(cut));
  }
});
