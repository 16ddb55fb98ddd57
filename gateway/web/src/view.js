// What is on the page besides the screen: the state in the bar, and the card that says what is going on.
// Everything from the gateway or the machine is set as text.

const byId = (id) => document.getElementById(id);
const card = { title: byId('title'), text: byId('text'), next: byId('next'), detail: byId('detail') };
const form = byId('question');
const fields = byId('fields');
const again = byId('again');

const STATES = {
  connecting: 'Connecting',
  connected: 'Connected',
  credentials: 'Waiting for you',
  ended: 'Ended',
  failed: 'Not connected',
};

const FIELDS = {
  username: { label: 'User name', type: 'text', autocomplete: 'off' },
  password: { label: 'Password', type: 'password', autocomplete: 'off' },
  target: { label: 'Machine', type: 'text', autocomplete: 'off' },
};

export function name(instance) {
  byId('instance').textContent = instance || 'Portcullis';
  document.title = instance ? `${instance} - Portcullis` : 'Portcullis';
}

/** `state` is a key of STATES; `words` come from words.js. */
export function show(state, words = {}) {
  document.body.dataset.state = state;
  byId('state').textContent = STATES[state];
  for (const part of Object.keys(card)) setText(card[part], words[part]);
  form.hidden = true;
  // What was typed must not stay in the page.
  fields.replaceChildren();
  again.hidden = !words.retry;
  again.textContent = state === 'ended' ? 'Connect again' : 'Try again';
  if (state === 'connected') return;
  // Who cannot see the page hears the new card, and the button is one key away.
  (words.retry ? again : card.title).focus();
}

export function add(text) {
  setText(card.next, text);
}

export function onAgain(action) {
  again.addEventListener('click', action);
}

/** Asks in the card; resolves with what was typed, by type. */
export function ask(words, types, button) {
  show('credentials', words);
  fields.replaceChildren(...types.map(field));
  byId('answer').textContent = button;
  form.hidden = false;
  (fields.querySelector('input') ?? byId('answer')).focus();
  return new Promise((resolve) => {
    form.onsubmit = (event) => {
      event.preventDefault();
      resolve(Object.fromEntries(new FormData(form)));
    };
  });
}

function field(type) {
  const { label, ...attributes } = FIELDS[type] ?? { label: type, type: 'text', autocomplete: 'off' };
  const line = document.createElement('label');
  const input = Object.assign(document.createElement('input'), attributes, { name: type, id: type });
  input.autocapitalize = 'none';
  input.spellcheck = false;
  line.append(label, input);
  return line;
}

function setText(element, text) {
  element.textContent = text ?? '';
  element.hidden = !text;
}
