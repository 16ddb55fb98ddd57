// The button for who would rather have a viewer of their own: a file for remote-viewer, with the ticket of this page.

import * as toast from './toast.js';
import { say } from './words.js';

const button = document.getElementById('viewer-file');

/** `ticket` gives that of the page's link. */
export function start(ticket) {
  button.addEventListener('click', async () => {
    const answer = await fetch('/console.vv', { headers: { Authorization: `Bearer ${ticket()}` }, cache: 'no-store' }).catch(() => null);
    if (!answer?.ok) return toast.show(say('toasts.no_viewer_file'));
    const href = URL.createObjectURL(await answer.blob());
    Object.assign(document.createElement('a'), { href, download: 'console.vv' }).click();
    URL.revokeObjectURL(href);
  });
}
