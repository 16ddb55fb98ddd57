// The buttons for who would rather have a viewer of their own: a file for remote-viewer, or for FreeRDP and mstsc, with
// the ticket of this page.

import * as toast from './toast.js';
import { say } from './words.js';

/** `ticket` gives that of the page's link. */
export function start(ticket) {
  for (const button of document.querySelectorAll('[data-file]')) {
    button.addEventListener('click', () => save(button.dataset.file, ticket()));
  }
}

async function save(name, ticket) {
  const answer = await fetch(`/${name}`, { headers: { Authorization: `Bearer ${ticket}` }, cache: 'no-store' }).catch(() => null);
  if (!answer?.ok) return toast.show(say('toasts.no_viewer_file'));
  const href = URL.createObjectURL(await answer.blob());
  Object.assign(document.createElement('a'), { href, download: name }).click();
  URL.revokeObjectURL(href);
}
