// Problems of the API, in words.

import { say, table } from '../language.js';

// Of these the gateway knows more than their name.
const TELLING = ['bad_instance', 'not_opened', 'store_unavailable'];

/** What a person is told. */
export function words({ code, detail }) {
  const { problems } = table();
  if (!Object.hasOwn(problems, code)) return say('problems.other', { code, detail });
  return TELLING.includes(code) ? say('problems.more', { words: problems[code], detail }) : problems[code];
}
