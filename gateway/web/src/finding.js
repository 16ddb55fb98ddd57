// The panel that looks for text in what a terminal has shown.

import { say } from './words.js';

const byId = (id) => document.getElementById(id);
const field = byId('find-text');

/** `current` gives the connection of the moment, or null. */
export function start(current) {
  const find = (back) => {
    if (field.value) current()?.find(field.value, back);
    else current()?.stopFinding();
  };
  field.addEventListener('input', () => find(false));
  field.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter') return;
    event.preventDefault();
    if (event.shiftKey) find(true);
    else current()?.findNext(field.value);
  });
  byId('find-previous').addEventListener('click', () => find(true));
  byId('find-next').addEventListener('click', () => current()?.findNext(field.value));
}

/** The `number`th of `count` places is shown; 0 where it is not known which. */
export function found(number, count) {
  byId('found').textContent = field.value ? say(count > 0 ? 'page.found' : 'page.not_found', { number, count }) : '';
}
