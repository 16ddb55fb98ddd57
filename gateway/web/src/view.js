// What is on the page besides the screen: the state in the bar, and the card that says what is going on.
// Everything from the gateway or the machine is set as text.

import { card, onSpeak, say } from './words.js';

const byId = (id) => document.getElementById(id);
const { body } = document;
const parts = { title: byId('title'), text: byId('text'), next: byId('next'), progress: byId('progress'), detail: byId('detail') };
const form = byId('question');
const fields = byId('fields');
const again = byId('again');
const stop = byId('stop');
const last = byId('last-picture');

const INPUTS = { username: 'text', password: 'password', domain: 'text', target: 'text' };

// What is shown now, to be shown in another language.
let state = 'connecting';
let message = null;
let more = {};

onSpeak(() => {
  write();
  for (const label of fields.querySelectorAll('[data-field]')) label.textContent = fieldName(label.dataset.field);
});

export function name(instance) {
  byId('instance').textContent = instance || 'Portcullis';
  document.title = instance ? `${instance} - Portcullis` : 'Portcullis';
}

/** `screen` or `terminal`: the bar and its panels have what is of use there. */
export function kind(name) {
  body.dataset.kind = name;
}

export function viewOnly(on) {
  body.dataset.viewOnly = on;
}

/**
 * `next` is a key of `states` in the words; `shown` a message, see message.js. `extra` is `{ note, progress, waits,
 * held }`: a further key of `page`, words of a countdown, whether there is something to stop, and whether the button
 * is kept back until `release`.
 */
export function show(next, shown = null, extra = {}) {
  const same = state === next && message?.key === shown?.key && Boolean(more.waits) === Boolean(extra.waits);
  [state, message, more] = [next, shown, extra];
  body.dataset.state = state;
  form.hidden = true;
  // What was typed must not stay in the page.
  fields.replaceChildren();
  again.hidden = !(more.waits || message?.help === 'again' || message?.help === 'wait');
  again.disabled = Boolean(more.held);
  stop.hidden = !more.waits;
  write();
  if (state === 'connected' || same) return;
  // Who cannot see the page hears the new card, and the button is one key away.
  (again.hidden || again.disabled ? parts.title : again).focus();
}

/** Changes the line of a countdown only, which is not read out each second. */
export function progress(words) {
  more.progress = words;
  setText(parts.progress, words?.());
}

/** The button may be pressed again; who waited on the card is put on it. */
export function release() {
  progress();
  again.disabled = false;
  if (document.activeElement === parts.title) again.focus();
}

export function note(key) {
  more.note = key;
  write();
}

export function onButtons(retry, giveUp) {
  again.addEventListener('click', retry);
  stop.addEventListener('click', giveUp);
}

/** Asks in the card; resolves with what was typed, by type. `detail` is shown as it is. */
export function ask(question, types, detail) {
  show('credentials', { ...question, detail });
  fields.replaceChildren(...types.map(field));
  form.hidden = false;
  (fields.querySelector('input') ?? byId('answer')).focus();
  return new Promise((resolve) => {
    form.onsubmit = (event) => {
      event.preventDefault();
      resolve(Object.fromEntries(new FormData(form)));
    };
  });
}

/** Leaves the last picture of the machine behind the card; null takes it away. */
export function picture(image) {
  last.hidden = !image;
  [last.width, last.height] = image ? [image.width, image.height] : [0, 0];
  if (image) last.getContext('2d').putImageData(image, 0, 0);
}

function write() {
  byId('state').textContent = say(`states.${state}`);
  const words = message ? card(message) : {};
  setText(parts.title, words.title);
  setText(parts.text, words.text);
  setText(parts.next, more.note ? say(`page.${more.note}`) : words.next);
  setText(parts.progress, more.progress?.());
  setText(parts.detail, message?.detail);
  again.textContent = say(`page.${more.waits ? 'try_now' : state === 'ended' ? 'connect_again' : 'try_again'}`);
}

function field(type) {
  const line = document.createElement('label');
  const label = Object.assign(document.createElement('span'), { textContent: fieldName(type) });
  label.dataset.field = type;
  const input = Object.assign(document.createElement('input'), {
    type: INPUTS[type] ?? 'text', name: type, autocomplete: 'off', autocapitalize: 'none', spellcheck: false,
  });
  line.append(label, input);
  return line;
}

const fieldName = (type) => (Object.hasOwn(INPUTS, type) ? say(`page.${type}`) : type);

function setText(element, text) {
  element.textContent = text ?? '';
  element.hidden = !text;
}
