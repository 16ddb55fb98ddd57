// Files that go by a machine's clipboard: those that were copied there are listed and can be saved, and some of this
// device can be offered. What the machine printed is listed with them. Nothing is sent, fetched or saved without a
// click.

import { bytes } from './bytes.js';
import * as toast from './toast.js';
import { onSpeak, say } from './words.js';

const byId = (id) => document.getElementById(id);
const list = byId('files');
const chosen = byId('chosen-files');
// A machine that prints for ever is not to fill the browser's memory: the oldest goes then, but never the last.
const DOCUMENTS = { count: 20, bytes: 256 * 1024 * 1024 };
let documents = [];
let count = 0;

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
  list.replaceChildren(...files.map(line), ...documents.map(({ item }) => item));
  list.hidden = list.children.length === 0;
  if (files.length > 0) toast.show(say('toasts.files_there'));
}

/** The machine has printed a document: `name` says what kind it is. The next one does not push it away. */
export function printed(blob, name) {
  count += 1;
  const called = count === 1 ? name : name.replace('.', `-${count}.`);
  const { size } = blob;
  const item = line({ name: called, size, fetch: () => blob });
  documents.push({ item, size });
  list.append(item);
  list.hidden = false;
  while (documents.length > 1 && areTooMany()) documents.shift().item.remove();
  toast.show(say('toasts.printed'), say('page.save'), () => save(blob, called));
}

function areTooMany() {
  const total = documents.reduce((sum, { size }) => sum + size, 0);
  return documents.length > DOCUMENTS.count || total > DOCUMENTS.bytes;
}

export function clear() {
  [documents, count] = [[], 0];
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
