// Questions before something is done that cannot be undone, and what became of it.

import { say } from '../language.js';
import { byId } from './element.js';
import { words } from './problem.js';

const dialog = byId('dialog');
let act = null;

byId('dialog-no').addEventListener('click', () => dialog.close());
byId('dialog-form').addEventListener('submit', async (submit) => {
  submit.preventDefault();
  const yes = byId('dialog-yes');
  yes.disabled = true;
  try {
    await act();
    dialog.close();
  } catch (problem) {
    complain(problem);
  }
  yes.disabled = false;
});

/** Asks; `yes` does it, and may fail with a Problem. */
export function ask({ title, text, label, yes }) {
  act = yes;
  fill(title, text);
  byId('dialog-yes').textContent = label;
  byId('dialog-yes').hidden = false;
  byId('dialog-link').hidden = true;
  byId('dialog-no').textContent = say('dialog.no');
  dialog.showModal();
}

/** Says why something was not done. */
export function tell(title, problem) {
  fill(title, '');
  byId('dialog-yes').hidden = true;
  byId('dialog-link').hidden = true;
  byId('dialog-no').textContent = say('dialog.close');
  complain(problem);
  dialog.showModal();
}

/** Offers a link that the browser would not open by itself. */
export function offer({ title, text, label, url }) {
  fill(title, text);
  byId('dialog-yes').hidden = true;
  byId('dialog-no').textContent = say('dialog.close');
  Object.assign(byId('dialog-link'), { hidden: false, textContent: label, href: url });
  dialog.showModal();
}

byId('dialog-link').addEventListener('click', () => dialog.close());
// The link holds a ticket.
dialog.addEventListener('close', () => byId('dialog-link').removeAttribute('href'));

function fill(title, text) {
  byId('dialog-title').textContent = title;
  byId('dialog-text').textContent = text;
  byId('dialog-text').hidden = text === '';
  byId('dialog-problem').hidden = true;
}

function complain(problem) {
  byId('dialog-problem').textContent = words(problem);
  byId('dialog-problem').hidden = false;
}
