// What a person reads, in the language of the moment. The words themselves are in words/, one table per language.

import en from './words/en.js';
import zh from './words/zh.js';

export const LANGUAGES = { en, zh };

let now = en;
const listeners = [];

/** The first of `wanted` (as in `navigator.languages`) that there are words for; English otherwise. */
export function choose(wanted) {
  const names = wanted.map((tag) => tag.toLowerCase().split('-')[0]);
  return names.find((name) => Object.hasOwn(LANGUAGES, name)) ?? 'en';
}

/** Changes the language, and tells everybody who shows words. */
export function speak(name) {
  now = LANGUAGES[name];
  document.documentElement.lang = now.tag;
  for (const listener of listeners) listener();
}

export function onSpeak(listener) {
  listeners.push(listener);
}

/** The words at `path`, such as `page.keys`, with `{name}` filled in from `values`. */
export function say(path, values = {}) {
  const [section, key] = path.split('.');
  return fill(now[section][key], values);
}

/** The card for a message: see message.js. */
export function card({ section, key, values = {} }) {
  const { title, text, next } = now[section][key];
  return { title: fill(title, values), text: fill(text, values), next: next && fill(next, values) };
}

function fill(words, values) {
  return words.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** Puts words on all that is marked: `data-word` is the text, `data-name` name and tooltip of what shows an icon. */
export function translate(root = document) {
  for (const element of root.querySelectorAll('[data-word]')) element.textContent = say(element.dataset.word);
  for (const element of root.querySelectorAll('[data-name]')) {
    element.setAttribute('aria-label', say(element.dataset.name));
    if (element.localName === 'button') element.title = say(element.dataset.name);
  }
}
