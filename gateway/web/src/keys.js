// The panel of keys that a browser or a phone keeps for itself, and modifiers that hold until the next key.

import { KEYS, strokes } from './keysym.js';

const held = new Set();
let connection;

/** `current` gives the connection of the moment, or null. */
export function start(current) {
  connection = current;
  const functions = document.getElementById('function-keys');
  for (let n = 1; n <= 12; n += 1) functions.append(functionKey(n));

  for (const button of document.querySelectorAll('[data-keys]')) {
    button.addEventListener('click', () => {
      send(strokes(button.dataset.keys));
      if (!button.closest('.panel')) connection()?.focus();
    });
  }
  for (const button of document.querySelectorAll('[data-hold]')) {
    button.addEventListener('click', () => hold(button, !held.has(button)));
  }
  // A key of the real keyboard takes what is held along; capture, because noVNC lets no key event go further.
  document.getElementById('screen').addEventListener('keyup', ({ key }) => {
    if (!['Control', 'Alt', 'Shift', 'Meta'].includes(key)) release();
  }, true);
}

/** Sends strokes, as keysym.js makes them, with what is held, and lets go of it. */
export function send(keys) {
  const vnc = connection();
  if (!vnc) return;
  for (const [keysym, code, down] of keys) vnc.key(keysym, code, down);
  release();
}

/** Lets go of all modifiers; where there is no connection, of their buttons. */
export function release() {
  for (const button of held) hold(button, false);
}

function hold(button, on) {
  const vnc = connection();
  if (on && !vnc) return;
  held[on ? 'add' : 'delete'](button);
  button.setAttribute('aria-pressed', on);
  vnc?.key(...KEYS[button.dataset.hold], on);
}

function functionKey(n) {
  const button = document.createElement('button');
  Object.assign(button, { type: 'button', textContent: `F${n}` });
  button.dataset.keys = `ctrl alt f${n}`;
  button.setAttribute('aria-label', `Ctrl-Alt-F${n}`);
  return button;
}
