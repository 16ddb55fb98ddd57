// What holds for the words of every page.

import assert from 'node:assert/strict';
import test from 'node:test';

/** Pairs of path and words. */
function leaves(value, path = '') {
  if (typeof value === 'string') return [[path, value]];
  return Object.entries(value).flatMap(([key, inner]) => leaves(inner, `${path}.${key}`));
}

/** The languages of a page are as good as each other. */
export function speakAlike(languages) {
  test('every language has the same words, with the same places in them', () => {
    const shape = (value) => (typeof value === 'string'
      ? [...value.matchAll(/\{\w+\}/g)].map(([place]) => place).sort()
      : Object.fromEntries(Object.keys(value).sort().map((key) => [key, shape(value[key])])));
    for (const words of Object.values(languages)) assert.deepEqual(shape(words), shape(languages.en), words.language);
  });

  test('no word is empty, and none was left in English', () => {
    const english = new Map(leaves(languages.en));
    for (const [name, words] of Object.entries(languages)) {
      for (const [path, text] of leaves(words)) {
        assert.ok(text.trim(), `${path} in ${name}`);
        if (name !== 'en') assert.notEqual(text, english.get(path), `${path} in ${name}`);
      }
    }
  });
}
