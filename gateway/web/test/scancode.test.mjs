import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KEYS, textStrokes } from '../src/keysym.js';
import { scancode, scancodes } from '../src/scancode.js';

test('every key that the page can send has a code', () => {
  for (const [name, [keysym, code]] of Object.entries(KEYS)) {
    assert.equal(scancodes(keysym, code, true).length, 1, name);
  }
});

test('a key that goes up has its highest bit', () => {
  assert.deepEqual(scancodes(...KEYS.esc, true), [0x01]);
  assert.deepEqual(scancodes(...KEYS.esc, false), [0x81]);
  assert.deepEqual(scancodes(...KEYS.del, true), [0x53e0]);
  assert.deepEqual(scancodes(...KEYS.del, false), [0xd3e0]);
});

test('text is typed as on a US keyboard', () => {
  const codes = textStrokes('aZ1!').flatMap((stroke) => scancodes(...stroke));
  assert.deepEqual(codes, [0x1e, 0x9e, 0x2a, 0x2c, 0xac, 0xaa, 0x02, 0x82, 0x2a, 0x02, 0x82, 0xaa]);
  assert.deepEqual(scancodes(0x01004e2d, null, true), []);
});

test('keys of a keyboard have codes of their own', () => {
  const rows = ['KeyA', 'Digit1', 'Digit0', 'Minus', 'Slash', 'Numpad0', 'NumpadEnter', 'AltRight', 'IntlBackslash', 'F12'];
  const codes = rows.map((code) => scancode(-1, code));
  assert.deepEqual(codes, [0x1e, 0x02, 0x0b, 0x0c, 0x35, 0x52, 0xe01c, 0xe038, 0x56, 0x58]);
  assert.equal(scancode(-1, 'Nothing'), undefined);
});
