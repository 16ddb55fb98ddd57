// Files that go by a machine's clipboard: those that were copied there are listed and can be saved, and some of this
// device can be offered. Nothing is sent or fetched without a click.

import { bytes } from './bytes.js';
import * as toast from './toast.js';
import { onSpeak, say } from './words.js';

const byId = (id) => document.getElementById(id);
const list = byId('files');
const chosen = byId('chosen-files');

export function start(connection) {
  byId('send-files').addEventListener('click', () => chosen.click());
  chosen.addEventListener('change', () => {
    if (chosen.files.length === 0) return;
    connection()?.offerFiles([...chosen.files]).then(
      () => toast.show(say('toasts.files_sent')),
      () => toast.show(say('toasts.file_failed')),
    );
    toast.show(say('toasts.files_given'));
    // The same may be chosen again.
    chosen.value = '';
    connection()?.focus();
  });
  onSpeak(() => { for (const button of list.querySelectorAll('button')) button.textContent = say('page.save'); });
}

/** The machine has copied `files`, each `{ name, size, fetch }`, of which the last gives a promise of a Blob. */
export function copied(files) {
  list.replaceChildren(...files.map(line));
  list.hidden = files.length === 0;
  if (files.length > 0) toast.show(say('toasts.files_there'));
}

/** The machine has printed a document. */
export function printed(blob, name) {
  toast.show(say('toasts.printed'), say('page.save'), () => save(blob, name));
}

export function clear() {
  copied([]);
}

function line({ name, size, fetch }) {
  const item = document.createElement('li');
  const button = Object.assign(document.createElement('button'), { type: 'button', textContent: say('page.save') });
  // What a machine names is text.
  item.append(Object.assign(document.createElement('span'), { textContent: `${name} (${bytes(size)})` }), button);
  button.addEventListener('click', async () => {
    button.disabled = true;
    try {
      save(await fetch(), name);
    } catch {
      toast.show(say('toasts.file_failed'));
    }
    button.disabled = false;
  });
  return item;
}

function save(blob, name) {
  const href = URL.createObjectURL(blob);
  Object.assign(document.createElement('a'), { href, download: name }).click();
  URL.revokeObjectURL(href);
}
