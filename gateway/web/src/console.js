// The console page, from link to screen: take the ticket, ask the gateway, connect, and say what happened.

import { askStatus } from './status.js';
import { takeTicket } from './ticket.js';
import * as toolbar from './toolbar.js';
import * as view from './view.js';
import * as words from './words.js';

const SLOW_MS = 10_000;

let link = takeTicket();
let connection = null;
// Counts tries, so that an answer which comes after the next try has begun is dropped.
let current = 0;

toolbar.start(() => connection);
view.onAgain(start);
// A new link for the same port, pasted into this window, changes only the fragment and does not load the page again.
window.addEventListener('hashchange', () => {
  link = takeTicket();
  view.name('');
  start();
});
start();

async function start() {
  const mine = ++current;
  const stale = () => mine !== current;
  connection?.close();
  connection = null;

  if (link.damaged) return view.show('failed', words.DAMAGED_LINK);
  if (!link.ticket) return view.show('failed', words.forRefusal({ code: 'no_ticket' }));

  view.show('connecting', { title: 'Connecting', text: 'Asking the gateway.' });
  const viewer = import('./vnc.js').catch(() => null);
  const { granted, refusal } = await askStatus(link.ticket);
  if (stale()) return;
  if (refusal) return view.show('failed', words.forRefusal(refusal));

  view.name(granted.instance_id);
  if (granted.graphics_protocol !== 'vnc') {
    return view.show('failed', words.forOtherProtocol(granted.graphics_protocol));
  }

  const vnc = await viewer;
  if (stale()) return;
  if (!vnc) return view.show('failed', words.PAGE_INCOMPLETE);
  open(vnc, stale);
}

function open(vnc, stale) {
  view.show('connecting', { title: 'Connecting', text: 'Waiting for the screen of the machine.' });
  let seen = false;
  // While a person reads a question or a timer runs, this connection may end and another begin.
  const live = () => connection === opened;
  const slow = setTimeout(() => { if (live()) view.add(words.SLOW); }, SLOW_MS);

  const opened = vnc.connect(document.getElementById('screen'), link.ticket, {
    connected() {
      clearTimeout(slow);
      seen = true;
      view.show('connected');
      toolbar.fit(opened);
      opened.focus();
    },
    async asked(types) {
      clearTimeout(slow);
      const answer = await view.ask({
        title: 'The machine asks for a login',
        text: 'Its console has a password of its own, which the gateway does not know.',
      }, types, 'Log in');
      if (!live()) return;
      view.show('connecting', { title: 'Connecting', text: 'Checking the login.' });
      opened.answer(answer);
    },
    async unknownKey(key) {
      clearTimeout(slow);
      if (!window.isSecureContext) {
        opened.close();
        connection = null;
        return view.show('failed', words.NEEDS_HTTPS);
      }
      const detail = await fingerprint(key);
      if (!live()) return;
      await view.ask({
        title: 'Is this the right machine?',
        text: 'Its console shows a key that this page cannot check. Compare it if you know the key of the machine.',
        detail,
      }, [], 'Connect');
      if (!live()) return;
      view.show('connecting', { title: 'Connecting', text: 'Waiting for the machine.' });
      opened.trustKey();
    },
    gone(end) {
      clearTimeout(slow);
      connection = null;
      if (document.fullscreenElement) document.exitFullscreen();
      finish(end, seen, stale);
    },
  });
  connection = opened;
}

async function finish(end, seen, stale) {
  const state = seen ? 'ended' : 'failed';
  if ('login' in end) return view.show(state, words.forLogin(end.login));
  if (end.broken) return view.show(state, words.NOT_UNDERSTOOD);
  // After 1006 the reason, if there was one, is not in the close but in what the gateway says now.
  if (seen || end.close.code !== 1006) return view.show(state, words.forClose(end.close));

  const { refusal, last } = await askStatus(link.ticket);
  if (stale()) return;
  const why = refusal ?? last;
  view.show(state, why ? words.forRefusal(why) : words.UPGRADE_LOST);
}

async function fingerprint(key) {
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', key));
  return [...hash].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}
