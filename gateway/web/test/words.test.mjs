// Words: the same keys in each language, one card for whatever the gateway can say, and no word that nobody asks for.

import assert from 'node:assert/strict';
import { readFile, readdir } from 'node:fs/promises';
import test from 'node:test';
import { REASONS, clip, isOfMachine, ofClose, ofLogin, ofPage, ofRefusal } from '../src/message.js';
import { LANGUAGES, card, choose, say } from '../src/words.js';
import { speakAlike } from './languages.mjs';

const source = (path) => readFile(new URL(path, import.meta.url), 'utf8');
const HELPS = ['wait', 'again', 'link'];
// Close codes that the gateway sends, and that of a connection that ended without (RFC 6455 section 7.4.1).
const CLOSES = [1000, 1001, 1002, 1006, 1007, 1011, 4000, 4001];

/** What every language must have for a message: its card, and its places for values. */
function hasCard(message) {
  assert.ok(HELPS.includes(message.help), message.key);
  for (const [name, words] of Object.entries(LANGUAGES)) {
    const { title, text, next } = words[message.section]?.[message.key] ?? {};
    assert.ok(title && text && next, `${message.key} in ${name}`);
  }
}

speakAlike(LANGUAGES);

test('every refusal of the gateway has words in every language', async () => {
  const table = await source('../../src/broker/refusal.rs');
  const codes = [...table.matchAll(/=> \((\d{3}), "(\w+)"\)/g)].map(([, status, code]) => ({ status: Number(status), code }));
  assert.ok(codes.length > 20, 'the table of refusals is read');
  const titles = new Set();
  for (const { status, code } of codes) {
    const message = ofRefusal({ status, code, message: 'from the gateway' });
    hasCard(message);
    assert.equal(message.section, 'refusals', code);
    assert.equal(message.detail, `${code}, HTTP ${status}`);
    titles.add(card(message).title);
  }
  assert.equal(titles.size, codes.length, 'each has a title of its own');
  for (const { refusals } of Object.values(LANGUAGES)) {
    assert.deepEqual(Object.keys(refusals).sort(), codes.map(({ code }) => code).sort());
  }
});

test('every close code has words in every language', async () => {
  for (const code of CLOSES) {
    hasCard(ofClose({ code, reason: '' }));
    assert.match(ofClose({ code, reason: 'why' }).detail, new RegExp(`${code}, why`));
  }
  for (const { closes } of Object.values(LANGUAGES)) assert.deepEqual(Object.keys(closes).map(Number), CLOSES);
  const relay = await source('../../src/relay/session/end.rs') + await source('../../src/relay/pump.rs');
  for (const [reason, [key]] of Object.entries(REASONS)) {
    assert.ok(relay.includes(`GOING_AWAY, "${reason}"`), `the gateway says ${reason}`);
    hasCard(ofClose({ code: 1001, reason }));
    assert.equal(ofClose({ code: 1001, reason }).key, key);
  }
  assert.equal(ofClose({ code: 1001, reason: 'the gateway is stopping' }).help, 'wait');
});

test('what is unknown still says something', () => {
  for (const code of ['moon_phase', 'constructor', '', undefined]) {
    const message = ofRefusal({ status: 418, code, message: 'not tonight' });
    hasCard(message);
    assert.match(message.detail, /HTTP 418, not tonight$/);
  }
  hasCard(ofClose({ code: 4999, reason: '' }));
  hasCard(ofRefusal({ code: 'unreachable' }));
  hasCard(ofLogin('bad password'));
  assert.equal(ofLogin('bad password').detail, 'bad password');
});

test('a try that is of no use yet is told with how long to wait', () => {
  const refused = { code: 'target_password', message: 'from the gateway', wait_ms: 7000 };
  assert.equal(ofRefusal(refused).wait_ms, 7000);
  assert.equal(ofRefusal({ ...refused, wait_ms: undefined }).wait_ms, 0);
});

test('a used ticket is another thing once the screen was there', () => {
  const used = { status: 403, code: 'ticket_used' };
  assert.equal(ofRefusal(used).key, 'ticket_used');
  hasCard(ofRefusal(used, { seen: true }));
  assert.equal(ofRefusal(used, { seen: true }).key, 'too_late');
  assert.equal(ofRefusal({ code: 'unreachable' }, { seen: true }).key, 'unreachable');
  assert.equal(ofRefusal({ code: 'unreachable' }, { seen: true, late: true }).key, 'too_late');
});

test('the machine is waited for where it is the machine that is away', () => {
  for (const code of ['target_refused', 'target_timeout']) assert.ok(isOfMachine(ofRefusal({ status: 502, code })), code);
  for (const code of [1000, 1011]) assert.ok(isOfMachine(ofClose({ code })), String(code));
  assert.ok(!isOfMachine(ofClose({ code: 1006 })));
  assert.ok(!isOfMachine(ofRefusal({ code: 'unreachable' })));
});

test('all words that the page asks for are there, and all that are there are asked for', async () => {
  const folder = new URL('../src/', import.meta.url);
  const files = (await readdir(folder)).filter((name) => /\.(js|html)$/.test(name));
  const text = (await Promise.all(files.map((name) => readFile(new URL(name, folder), 'utf8')))).join('\n');
  for (const [, section, key] of text.matchAll(/['"`](page|toasts|states)\.([a-z_]+)['"`]/g)) {
    assert.ok(LANGUAGES.en[section][key], `${section}.${key}`);
  }
  for (const [, key] of text.matchAll(/ofPage\('(\w+)'/g)) assert.ok(LANGUAGES.en.cards[key], key);
  for (const [key] of Object.values(REASONS)) assert.ok(LANGUAGES.en.cards[key], key);
  for (const section of ['page', 'toasts', 'cards']) {
    for (const key of Object.keys(LANGUAGES.en[section])) {
      assert.match(text, new RegExp(`['"\`.]${key}['"\`]|\\b${key}: '`), `${section}.${key} is asked for`);
    }
  }
});

test('places are filled in, and only those', () => {
  assert.equal(say('page.delay', { ms: 12 }), '12 ms');
  assert.match(card(ofPage('other_protocol', 'link', { protocol: '{ms}' })).text, /\{ms\}/);
});

test('the language is the first that there are words for', () => {
  const check = (wanted, expected) => assert.equal(choose(wanted), expected, String(wanted));
  check(['zh-CN', 'en'], 'zh');
  check(['zh-Hant-TW'], 'zh');
  check(['de-DE', 'EN-us', 'zh'], 'en');
  check(['', 'de'], 'en');
  check([], 'en');
  check(['constructor'], 'en');
});

test('text from outside is short, and is text', () => {
  assert.equal(clip('a'.repeat(300)).length, 300);
  assert.equal(clip('a'.repeat(5000)).length, 300);
  assert.equal(clip({}), '');
  assert.equal(clip(undefined), '');
});
