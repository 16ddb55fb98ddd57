// The keyboard of a phone: a field that nobody sees takes what is typed, and each change of it becomes keys. Such
// keyboards tell no keys, and rewrite whole words while one is typed.

import { KEYS, NAMED, textStrokes } from './keysym.js';
import * as keys from './keys.js';

// There has to be something in front that can be deleted.
const PAD = '_'.repeat(64);

/** How `before` becomes `after`: so many characters deleted at the end, and then `text` typed. */
export function change(before, after) {
  const [old, now] = [[...before], [...after]];
  let same = 0;
  while (same < old.length && old[same] === now[same]) same += 1;
  return { back: old.length - same, text: now.slice(same).join('') };
}

export function start(connection) {
  const field = document.getElementById('typing');
  const button = document.getElementById('keyboard-button');
  let before;
  const reset = () => { field.value = before = PAD; };

  // The phone's keyboard is there as long as the field has the focus, which a press on these would take.
  for (const key of document.querySelectorAll('#keyboard-button, #keys-button, #keys button')) {
    key.addEventListener('mousedown', (event) => { if (document.activeElement === field) event.preventDefault(); });
  }
  button.addEventListener('click', () => {
    if (document.activeElement === field) return field.blur();
    reset();
    field.focus({ preventScroll: true });
  });
  field.addEventListener('focus', () => button.setAttribute('aria-pressed', true));
  field.addEventListener('blur', () => button.setAttribute('aria-pressed', false));

  field.addEventListener('input', (event) => {
    const { back, text } = change(before, field.value);
    const [keysym, code] = KEYS.back;
    const deletions = Array.from({ length: back }, () => [[keysym, code, true], [keysym, code, false]]).flat();
    if (connection()) keys.send([...deletions, ...textStrokes(text)]);
    before = field.value;
    // While a word is composed the keyboard knows the field better than we do.
    if (!event.isComposing && (before.length < PAD.length / 2 || before.length > PAD.length * 2)) reset();
  });
  field.addEventListener('keydown', (event) => {
    if (!Object.hasOwn(NAMED, event.key)) return;
    event.preventDefault();
    const keysym = NAMED[event.key];
    keys.send([[keysym, event.code || null, true], [keysym, event.code || null, false]]);
  });
}
