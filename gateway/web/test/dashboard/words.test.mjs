// The dashboard's words: for whatever the gateway can say, and none that nobody asks for.

import assert from 'node:assert/strict';
import { readFile, readdir } from 'node:fs/promises';
import test from 'node:test';
import { endWords } from '../../src/dashboard/columns.js';
import { words } from '../../src/dashboard/problem.js';
import { LANGUAGES } from '../../src/dashboard/words.js';
import { speakAlike } from '../languages.mjs';

const source = (path) => readFile(new URL(path, import.meta.url), 'utf8');

speakAlike(LANGUAGES);

test('every end, every event and every reason has words', async () => {
  const [, names] = /END_NAMES: \[[^\]]*\] = \[([^\]]*)\]/.exec(await source('../../../src/relay/session/end.rs'));
  // Some stand there by the name of a constant.
  const ends = [...names.matchAll(/\w+/g)].map(([end]) => end.toLowerCase());
  assert.match(await source('../../../src/control/store/session.rs'), /LOST: &str = "gateway_lost"/);
  assert.deepEqual(Object.keys(LANGUAGES.en.ends).sort(), [...ends, 'gateway_lost'].sort());

  const folder = '../../../src/';
  const files = ['broker/mod.rs', 'control/api/brokers.rs', 'control/lifecycle.rs', 'control/lifecycle/several.rs', 'control/lifecycle/instances.rs'];
  const closing = (await Promise.all(files.map((file) => source(folder + file)))).join('\n');
  for (const reason of Object.keys(LANGUAGES.en.reasons)) assert.ok(closing.includes(`"${reason.replaceAll('_', ' ')}"`), reason);

  const [, told] = /\/\/\/ (`broker\.opened`[^.]*(?:\.[^.]+)*?)\.\n {4}pub event/.exec(await source('../../../src/control/events.rs'));
  const events = [...told.matchAll(/`([a-z]+\.[a-z]+)`/g)].map(([, event]) => event.replace('.', '_'));
  assert.deepEqual(Object.keys(LANGUAGES.en.events).sort(), events.sort());
});

test('every problem that has words is one of the API, and every other still says something', async () => {
  const table = await source('../../../src/control/api/code.rs');
  for (const code of Object.keys(LANGUAGES.en.problems)) {
    assert.ok(['unreachable', 'other', 'more'].includes(code) || table.includes(`"${code}"`), code);
  }
  assert.match(words({ code: 'wrong_key', detail: '' }), /^This is not/);
  assert.match(words({ code: 'moon_phase', detail: 'not tonight' }), /not tonight \(moon_phase\)/);
  assert.match(words({ code: 'constructor', detail: 'no' }), /constructor/);
  assert.equal(endWords('moon_phase'), 'moon_phase');
  assert.equal(endWords('constructor'), 'constructor');
  assert.equal(endWords('instance changed'), 'the instance was changed');
  assert.equal(endWords(undefined), '');
});

test('all words that the page asks for are there, and all that are there are asked for', async () => {
  const folder = new URL('../../src/dashboard/', import.meta.url);
  const files = (await readdir(folder)).filter((name) => /\.(js|html)$/.test(name));
  const text = (await Promise.all(files.map((name) => readFile(new URL(name, folder), 'utf8')))).join('\n');
  const sections = Object.keys(LANGUAGES.en).filter((section) => typeof LANGUAGES.en[section] === 'object');
  for (const [, section, key] of text.matchAll(/['"`]([a-z]+)\.([a-z_]+)['"`]/g)) {
    if (sections.includes(section)) assert.ok(LANGUAGES.en[section][key], `${section}.${key}`);
  }
  // Those by a name of the gateway's are looked at above; those by a name of the page's own here.
  const named = { search: 'brokers sessions past instances', empty: 'brokers sessions past instances', tickets: 'required optional', units: 'second minute hour day byte per_second' };
  for (const [section, keys] of Object.entries(named)) assert.deepEqual(Object.keys(LANGUAGES.en[section]).sort(), keys.split(' ').sort());
  const byName = ['events', 'ends', 'reasons', 'problems', ...Object.keys(named)];
  for (const section of sections.filter((section) => !byName.includes(section))) {
    for (const key of Object.keys(LANGUAGES.en[section])) {
      const asked = text.includes(`${section}.${key}`) || (section === 'page' && ['loading', 'ready', 'away'].includes(key)) || (section === 'tables' && key in LANGUAGES.en.search);
      assert.ok(asked, `${section}.${key} is asked for`);
    }
  }
});
