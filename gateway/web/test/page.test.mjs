// The parts of the page that need no browser: the ticket's place in the address, and the words for each refusal.

import assert from 'node:assert/strict';
import test from 'node:test';
import { readTicket } from '../src/ticket.js';
import { clip, forClose, forLogin, forRefusal } from '../src/words.js';

const CODES = [
  'no_ticket', 'wrong_ticket', 'ticket_used', 'ticket_expired', 'no_broker', 'instance_gone', 'too_many',
  'target_refused', 'full', 'stopping', 'target_timeout',
];

test('the ticket is read from the fragment', () => {
  const check = (fragment, expected) => assert.deepEqual(readTicket(fragment), expected, fragment);
  check('#token=abc-DEF_1.2~', { ticket: 'abc-DEF_1.2~' });
  check('#other=1&token=abc', { ticket: 'abc' });
  check('', {});
  check('#', {});
  check('#token=', {});
  check('#tokenabc', {});
  check('#token=a%20b', { damaged: true });
  check('#token=a,b', { damaged: true });
});

test('every refusal of the gateway has words of its own', () => {
  const titles = new Set(CODES.map((code) => forRefusal({ code, status: 403, message: 'from the gateway' }).title));
  assert.equal(titles.size, CODES.length);
  for (const code of CODES) {
    const words = forRefusal({ code, status: 403, message: 'from the gateway' });
    assert.ok(words.title && words.text && words.next, code);
    assert.ok(!JSON.stringify(words).includes('from the gateway'), code);
    assert.equal(words.detail, `${code}, HTTP 403`);
  }
});

test('an unknown refusal shows the message of the gateway', () => {
  assert.equal(forRefusal({ code: 'moon_phase', status: 418, message: 'Not tonight.' }).text, 'Not tonight.');
  assert.equal(forRefusal({ code: 'constructor', status: 500, message: 'Odd.' }).text, 'Odd.');
  assert.ok(forRefusal({ status: 500, code: '', message: '' }).text);
});

test('every end has words, and a reason is shown where it is all there is', () => {
  for (const code of [1000, 1001, 1005, 1006, 1011, 4000]) {
    const words = forClose({ code, reason: '' });
    assert.ok(words.title && words.text && words.next, String(code));
    assert.match(words.detail, new RegExp(`${code}`));
  }
  assert.match(forClose({ code: 4000, reason: 'replaced' }).text, /replaced/);
  assert.match(forLogin('bad password').text, /bad password/);
});

test('text from outside is short, and is text', () => {
  assert.equal(clip('a'.repeat(300)).length, 300);
  assert.equal(clip('a'.repeat(5000)).length, 300);
  assert.equal(clip({}), '');
  assert.equal(clip(undefined), '');
});
