// Keys of the panel and of phones, as a terminal gets them.

import assert from 'node:assert/strict';
import test from 'node:test';
import { NAMED, KEYS, strokes, textStrokes } from '../src/keysym.js';
import { Typewriter } from '../src/typewriter.js';

function check(keys, typed, applicationCursorKeysMode = false) {
  const typewriter = new Typewriter({ modes: { applicationCursorKeysMode } });
  assert.equal(keys.map(([keysym, , down]) => typewriter.key(keysym, down)).join(''), typed);
  // Nothing stays held.
  assert.equal(typewriter.key('x'.charCodeAt(0), true), 'x');
}

test('text is typed as it is, and lines end with a return', () => {
  check(textStrokes('Ab 1~ä中😀\r\nx\t'), 'Ab 1~ä中😀\rx\t');
});

test('keys are what xterm sends for them', () => {
  check(strokes('ctrl c'), '\x03');
  check(strokes('ctrl d'), '\x04');
  check(strokes('ctrl z'), '\x1a');
  check(strokes('ctrl esc'), '\x1b');
  check(strokes('esc'), '\x1b');
  check(strokes('ctrl ['), '\x1b');
  check(strokes('tab'), '\t');
  check(strokes('back'), '\x7f');
  check(strokes('up'), '\x1b[A');
  check(strokes('up'), '\x1bOA', true);
  check(strokes('del'), '\x1b[3~');
  check(strokes('alt f4'), '\x1b\x1bOS');
  check(strokes('f12'), '\x1b[24~');
  check(strokes('super'), '');
  check(strokes('print'), '');
  for (const [name, typed] of [['PageUp', '\x1b[5~'], ['Home', '\x1b[H'], ['End', '\x1b[F']]) {
    check([[NAMED[name], name, true], [NAMED[name], name, false]], typed);
  }
});

test('Ctrl makes control characters where there are such', () => {
  const [ctrl] = KEYS.ctrl;
  for (const [character, typed] of [[' ', '\0'], ['[', '\x1b'], ['?', '\x7f'], ['A', '\x01'], ['1', '1'], ['中', '中']]) {
    check([[ctrl, '', true], ...textStrokes(character).filter(([, code]) => code === null), [ctrl, '', false]], typed);
  }
});
