// The bar: what it shows of the connection, how it gets out of the way, and how the keyboard gets to it, because the
// screen takes every key, Tab too.

import { release } from './keys.js';
import * as panels from './panels.js';
import { onSpeak, say } from './words.js';

const byId = (id) => document.getElementById(id);
const { body } = document;
const screen = byId('screen');
const fullScreen = byId('full-screen');

const MODIFIER = /^(Control|Alt|Shift)(Left|Right)$/;

let delay = null;

export function start(connection) {
  const toScreen = () => connection()?.focus();
  panels.start(toScreen);
  byId('hide-bar').addEventListener('click', () => { show(false); toScreen(); });
  byId('show-bar').addEventListener('click', () => { show(true); first().focus(); });

  // Phones that cannot do it have no such button.
  fullScreen.hidden = !document.fullscreenEnabled;
  fullScreen.addEventListener('click', async () => {
    await toggleFullScreen();
    toScreen();
  });
  document.addEventListener('fullscreenchange', () => {
    const on = Boolean(document.fullscreenElement);
    fullScreen.setAttribute('aria-pressed', on);
    show(!on);
  });
  onSpeak(() => showDelay(delay));
  leaveScreenByKeys();
}

export function leaveFullScreen() {
  if (document.fullscreenElement) document.exitFullscreen();
}

/** In milliseconds; null where it is not known. */
export function showDelay(ms) {
  delay = ms;
  const place = byId('delay');
  place.hidden = ms === null;
  if (ms === null) return;
  place.textContent = say('page.delay', { ms: Math.max(1, Math.round(ms)) });
  place.title = say('page.delay_title');
  place.dataset.grade = ms < 80 ? 'good' : ms < 200 ? 'fair' : 'poor';
}

export function show(on) {
  panels.close();
  body.dataset.bar = on ? 'shown' : 'hidden';
}

const first = () => byId('bar').querySelector('button:not([hidden])');

async function toggleFullScreen() {
  // The browser may refuse; the page is as good without.
  if (document.fullscreenElement) return document.exitFullscreen().catch(() => {});
  await document.documentElement.requestFullscreen().catch(() => {});
  // Where the browser can, keys such as Alt-Tab go to the machine as long as it is full.
  await navigator.keyboard?.lock?.().catch(() => {});
}

// Ctrl, Alt and Shift pressed and let go together, with no other key, move to the buttons. The move comes with the
// last key up, because a key that is down when the screen loses focus would stay down in the machine.
function leaveScreenByKeys() {
  const held = new Set();
  let all = false;
  let other = false;
  const reset = () => { held.clear(); all = other = false; };

  // Capture, because noVNC lets no key event go further.
  screen.addEventListener('keydown', ({ code }) => {
    const modifier = MODIFIER.exec(code)?.[1];
    if (modifier) held.add(modifier);
    else other = true;
    all ||= held.size === 3;
  }, true);
  screen.addEventListener('keyup', ({ code }) => {
    held.delete(MODIFIER.exec(code)?.[1]);
    if (held.size > 0) return;
    if (all && !other) {
      release();
      show(true);
      first().focus();
    }
    reset();
  }, true);
  window.addEventListener('blur', reset);
}
