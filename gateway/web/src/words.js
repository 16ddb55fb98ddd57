// What a person reads, in the language of the moment. The words themselves are in words/, one table per language.

import { fill, table, teach } from './language.js';
import en from './words/en.js';
import zh from './words/zh.js';

export { choose, offer, onSpeak, say, speak, translate } from './language.js';

export const LANGUAGES = { en, zh };

teach(LANGUAGES);

/** The card for a message: see message.js. */
export function card({ section, key, values = {} }) {
  const { title, text, next } = table()[section][key];
  return { title: fill(title, values), text: fill(text, values), next: next && fill(next, values) };
}
