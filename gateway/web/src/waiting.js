// The time between two tries: a countdown in the card, until the session does not wait for us any longer, or until a
// person may try again.

import { Comeback } from './comeback.js';
import { isOfMachine } from './message.js';
import * as view from './view.js';
import { say } from './words.js';

const seconds = (ms) => Math.ceil(ms / 1000);

let comeback = null;
let timer;
let attempt = () => {};

/** `again` makes the next try. */
export function onTry(again) {
  attempt = again;
}

/** Whether tries are made by the page itself. */
export const isOn = () => comeback !== null;

/** Shows `message` and waits for the next try. False where there is no further one. */
export function wait(message, window_ms) {
  const now = performance.now();
  comeback ??= new Comeback(now, window_ms);
  const delay = comeback.next(now);
  if (delay === null) return false;
  view.show(isOfMachine(message) ? 'waiting' : 'reconnecting', message, { waits: true });
  count(now + delay);
  return true;
}

/** The next try comes now, if one is waited for. */
export function hurry() {
  if (timer === undefined || !isOn()) return;
  pause();
  const number = comeback.attempt;
  view.progress(() => say('page.trying', { attempt: number }));
  attempt();
}

/** Keeps the button of the card back for so long. */
export function hold(wait_ms) {
  keepBack(performance.now() + wait_ms);
}

/** No further try. */
export function stop() {
  pause();
  comeback = null;
}

function count(due) {
  const now = performance.now();
  if (timer !== undefined && now >= due) return hurry();
  const values = { attempt: comeback.attempt, seconds: seconds(Math.max(0, due - now)), left: seconds(comeback.left(now)) };
  view.progress(() => say('page.countdown', values));
  timer = setTimeout(count, Math.min(Math.max(0, due - now), 1000), due);
}

function keepBack(due) {
  const left = due - performance.now();
  if (left <= 0) return view.release();
  view.progress(() => say('page.held', { seconds: seconds(left) }));
  timer = setTimeout(keepBack, Math.min(left, 1000), due);
}

function pause() {
  clearTimeout(timer);
  timer = undefined;
}
