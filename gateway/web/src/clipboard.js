// Text from the machine to the person and back. Neither clipboard is read or written without a click: the machine
// must not see what was copied elsewhere, and what it copies itself must not replace it unasked.

import { textStrokes } from './keysym.js';
import * as keys from './keys.js';
import { close } from './panels.js';
import * as toast from './toast.js';
import { say } from './words.js';

const byId = (id) => document.getElementById(id);
const field = byId('clipboard-text');

export function start(connection) {
  byId('copy').addEventListener('click', () => copy());
  byId('give').addEventListener('click', () => {
    connection()?.give(field.value);
    toast.show(say('toasts.given'));
    leave();
  });
  byId('paste-in').addEventListener('click', () => {
    connection()?.give(field.value);
    leave();
  });
  byId('type').addEventListener('click', () => {
    keys.send(textStrokes(field.value));
    toast.show(say('toasts.typed'));
    leave();
  });

  // Pages that came by plain http have no such interface, and then the field is pasted into.
  const paste = byId('paste');
  paste.hidden = !navigator.clipboard?.readText;
  paste.addEventListener('click', async () => {
    try {
      field.value = await navigator.clipboard.readText();
    } catch {
      toast.show(say('toasts.paste_failed'));
    }
    field.focus();
  });

  function leave() {
    close();
    connection()?.focus();
  }
}

/** The machine has copied `text`. */
export function copied(text) {
  if (!text) return;
  field.value = text;
  toast.show(say('toasts.copied_there'), say('page.copy'), () => copy());
}

/** A person has marked `text` in a terminal. */
export function selected(text) {
  if (text) field.value = text;
}

export function clear() {
  field.value = '';
}

async function copy() {
  const done = await write(field.value);
  toast.show(say(done ? 'toasts.copied_here' : 'toasts.copy_failed'));
}

async function write(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyByCommand(text);
  }
}

/** Deprecated, and all that a page by plain http has. */
function copyByCommand(text) {
  const carrier = Object.assign(document.createElement('textarea'), { value: text, className: 'unseen' });
  const focused = document.activeElement;
  document.body.append(carrier);
  carrier.select();
  const done = document.execCommand('copy');
  carrier.remove();
  focused?.focus({ preventScroll: true });
  return done;
}
