// Keys and text as the machine gets them.

import assert from 'node:assert/strict';
import test from 'node:test';
import { readFile } from 'node:fs/promises';
import { KEYS, ofCharacter, strokes, textStrokes } from '../src/keysym.js';
import { change } from '../src/typing.js';

test('keys go down in order and up in reverse', () => {
  const short = strokes('ctrl alt del').map(([, code, down]) => `${down ? '+' : '-'}${code}`);
  assert.deepEqual(short, ['+ControlLeft', '+AltLeft', '+Delete', '-Delete', '-AltLeft', '-ControlLeft']);
  assert.deepEqual(strokes('f12'), [[0xffc9, 'F12', true], [0xffc9, 'F12', false]]);
});

test('every button of the page names keys that there are', async () => {
  const page = await readFile(new URL('../src/index.html', import.meta.url), 'utf8');
  const names = [...page.matchAll(/data-(?:keys|hold)="([^"]+)"/g)].flatMap(([, keys]) => keys.split(' '));
  assert.ok(names.length > 10);
  for (const name of names) assert.ok(Object.hasOwn(KEYS, name), name);
});

test('a character has its keysym, and a Shift where a US keyboard needs one', () => {
  const check = (character, keysym, shift = false) => assert.deepEqual(ofCharacter(character), { keysym, shift }, character);
  check('a', 0x61);
  check('A', 0x41, true);
  check('1', 0x31);
  check('!', 0x21, true);
  check(' ', 0x20);
  check('\n', 0xff0d);
  check('\t', 0xff09);
  check('ä', 0xe4);
  check('€', 0x010020ac);
  check('中', 0x01004e2d);
  check('🙂', 0x0101f642);
});

test('text becomes strokes, line ends once each', () => {
  const downs = (text) => textStrokes(text).filter(([, , down]) => down).map(([keysym]) => keysym);
  assert.deepEqual(downs('aB'), [0x61, 0xffe1, 0x42]);
  assert.deepEqual(downs('\r\n\n'), [0xff0d, 0xff0d]);
  const all = textStrokes('Hi 🙂\r\n');
  assert.equal(all.filter(([, , down]) => down).length, all.length / 2);
});

test('what a phone keyboard does to a field becomes deletions and text', () => {
  const check = (before, after, back, text) => assert.deepEqual(change(before, after), { back, text }, `${before} ${after}`);
  check('__', '__a', 0, 'a');
  check('__a', '__', 1, '');
  check('__', '_', 1, '');
  check('__teh', '__the', 2, 'he');
  check('__n', '__你', 1, '你');
  check('__🙂', '__🙃', 1, '🙃');
  check('__', '__', 0, '');
});
