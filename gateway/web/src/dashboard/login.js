// The question for the key.

import { call, forgetKey, useKey } from './api.js';
import { byId } from './element.js';
import { words } from './problem.js';

/** Once a key is right, the page begins anew with it. */
export function start() {
  byId('login-form').addEventListener('submit', async (submit) => {
    submit.preventDefault();
    const [field, button] = [byId('key'), byId('login')];
    button.disabled = true;
    useKey(field.value);
    try {
      await call('v1/status');
      location.reload();
    } catch (problem) {
      forgetKey();
      complain(words(problem));
      field.select();
    }
    button.disabled = false;
  });
}

/** Asks; with `problem`, says why again. */
export function show(problem) {
  document.body.dataset.state = 'login';
  byId('login-card').hidden = false;
  byId('shell').hidden = true;
  complain(problem ? words(problem) : '');
  byId('key').focus();
}

function complain(text) {
  byId('login-problem').textContent = text;
  byId('login-problem').hidden = text === '';
}
