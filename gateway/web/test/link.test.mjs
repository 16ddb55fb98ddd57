// What a link carries.

import assert from 'node:assert/strict';
import test from 'node:test';
import { readLink } from '../src/ticket.js';

const NOTHING = { ticket: '', damaged: false, viewOnly: false, language: null };

test('the ticket is read from the fragment', () => {
  const check = (fragment, expected) => assert.deepEqual(readLink(fragment), { ...NOTHING, ...expected }, fragment);
  check('#token=abc-DEF_1.2~', { ticket: 'abc-DEF_1.2~' });
  check('#other=1&token=abc', { ticket: 'abc' });
  check('', {});
  check('#', {});
  check('#token=', {});
  check('#tokenabc', {});
  check('#token=a%20b', { ticket: 'a b', damaged: true });
  check('#token=a,b', { ticket: 'a,b', damaged: true });
});

test('view only and a language are read too', () => {
  const check = (fragment, expected) => assert.deepEqual(readLink(fragment), { ...NOTHING, ...expected }, fragment);
  check('#token=a&view_only=1', { ticket: 'a', viewOnly: true });
  check('#token=a&view_only=0', { ticket: 'a' });
  check('#lang=zh&token=a', { ticket: 'a', language: 'zh' });
});
