// The console page, from link to screen: take the ticket, ask the gateway, connect, come back when the connection is
// lost, and say what happened.

import * as bar from './bar.js';
import * as clipboard from './clipboard.js';
import { watch } from './delay.js';
import * as files from './files.js';
import * as finding from './finding.js';
import * as keys from './keys.js';
import { ofClose, ofLogin, ofPage, ofRefusal } from './message.js';
import * as panels from './panels.js';
import * as settings from './settings.js';
import { askStatus } from './status.js';
import { takeLink } from './ticket.js';
import * as toast from './toast.js';
import * as typing from './typing.js';
import * as view from './view.js';
import * as viewerFile from './viewer_file.js';
import * as waiting from './waiting.js';
import { choose, say, speak } from './words.js';

const SLOW_MS = 10_000;
// What shows a console, and what kind of screen it is, by protocol. Loaded on demand.
const vnc = { kind: 'screen', load: () => import('./vnc.js') };
const terminal = { kind: 'terminal', load: () => import('./terminal.js') };
const spice = { kind: 'screen', load: () => import('./spice.js').then((module) => module.load()) };
const rdp = { kind: 'screen', load: () => import('./rdp.js').then((module) => module.load()) };
const VIEWERS = { vnc, ikvm: vnc, spice, rdp, serial: terminal, container: terminal };

// The gateway's default, until it has told its own.
const WINDOW_MS = 30_000;

let link = takeLink();
let connection = null;
// Counts tries, so that an answer which comes after the next try has begun is dropped.
let current = 0;
// Whether this link has shown the screen, and how long its session waits for us.
let seen = false;
let window_ms = WINDOW_MS;
// What went wrong last, and whether the session does not wait any longer.
let trouble = null;
let late = false;
let unwatch = () => {};
// Lets go of what a viewer keeps to come back by itself.
let forget = () => {};

for (const part of [bar, keys, typing, clipboard, files, finding, settings]) part.start(() => connection);
viewerFile.start(() => link.ticket);
speak(choose([link.language ?? '', ...navigator.languages]));
waiting.onTry(attempt);
view.onButtons(() => (waiting.isOn() ? waiting.hurry() : start()), () => end(trouble, 'stopped'));
// A new link for the same port, pasted into this window, changes only the fragment and does not load the page again.
window.addEventListener('hashchange', () => {
  link = takeLink();
  [seen, late, window_ms] = [false, false, WINDOW_MS];
  view.name('');
  clipboard.clear();
  files.clear();
  forget();
  toast.hide();
  if (link.language) speak(choose([link.language]));
  start();
});
// Nobody waits for a countdown when the network is back, or the lid is open again.
window.addEventListener('online', waiting.hurry);
document.addEventListener('visibilitychange', () => { if (!document.hidden) waiting.hurry(); });
start();

/** From the beginning, with all the time there is. */
function start() {
  waiting.stop();
  view.picture(null);
  view.show('connecting', ofPage('asking'));
  attempt();
}

async function attempt() {
  const mine = ++current;
  const stale = () => mine !== current;
  leave();
  if (link.damaged) return end(ofPage('damaged_link'));

  const { granted, refusal } = await askStatus(link.ticket);
  if (stale()) return;
  if (refusal) return stumble(ofRefusal(refusal, { seen, late }));

  window_ms = granted.window_ms;
  view.name(granted.instance);
  if (!Object.hasOwn(VIEWERS, granted.protocol)) return end(ofPage('other_protocol', 'link', { protocol: granted.protocol }));
  document.body.dataset.protocol = granted.protocol;

  const { kind, load } = VIEWERS[granted.protocol];
  view.kind(kind);
  const viewer = await load().catch(() => null);
  if (stale()) return;
  if (!viewer) return end(ofPage('incomplete'));
  forget = viewer.forget ?? (() => {});
  if (!waiting.isOn()) view.show('connecting', ofPage('opening'));
  open(viewer, link.viewOnly || granted.viewOnly, stale);
}

function open(viewer, viewOnly, stale) {
  let shown = false;
  // While a person reads a question or a timer runs, this connection may end and another begin.
  const live = () => connection === opened;
  const slow = setTimeout(() => { if (live() && !waiting.isOn()) view.note('slow'); }, SLOW_MS);

  const opened = viewer.connect(document.getElementById('screen'), link.ticket, {
    connected() {
      clearTimeout(slow);
      shown = true;
      opened.viewOnly(viewOnly);
      view.viewOnly(viewOnly);
      settings.apply(opened);
      arrived(opened);
    },
    async asked(types, why = ofPage('login')) {
      clearTimeout(slow);
      const answer = await view.ask(why, types);
      if (!live()) return;
      view.show('connecting', ofPage('checking'));
      opened.answer(answer);
    },
    async unknownKey(key) {
      clearTimeout(slow);
      if (!window.isSecureContext) return end(ofPage('needs_https'));
      const detail = await fingerprint(key);
      if (!live()) return;
      await view.ask(ofPage('unknown_key'), [], detail);
      if (!live()) return;
      view.show('connecting', ofPage('opening'));
      opened.trustKey();
    },
    copied: clipboard.copied,
    files: files.copied,
    printed: files.printed,
    selected: clipboard.selected,
    found: finding.found,
    gone(how) {
      clearTimeout(slow);
      connection = null;
      if (shown) away(opened);
      finish(how, shown, stale);
    },
  });
  connection = opened;
}

function arrived(shown) {
  if (waiting.isOn()) toast.show(say('toasts.back'));
  waiting.stop();
  [seen, late] = [true, false];
  view.picture(null);
  view.show('connected');
  shown.focus();
  unwatch = watch(link.ticket, shown.heard, {
    measured: bar.showDelay,
    lost() {
      away(shown);
      stumble(ofClose({ code: 1006 }));
    },
  });
}

/** The screen is gone; what it showed last stays, as a picture, for as long as it may come back. */
function away(shown) {
  view.picture(shown.picture());
  panels.close();
  leave();
}

async function finish(how, shown, stale) {
  if ('login' in how) return end(ofLogin(how.login));
  if (how.refusal) return end(ofRefusal({ code: how.refusal }));
  if (how.broken) return end(ofPage('not_understood', 'again'));
  // After 1006 the reason, if there was one, is not in the close but in what the gateway says now.
  if (shown || how.close.code !== 1006) return stumble(ofClose(how.close));

  const { refusal, last } = await askStatus(link.ticket);
  if (stale()) return;
  const why = refusal ?? last;
  stumble(why ? ofRefusal(why, { seen, late }) : ofPage('upgrade_lost', waiting.isOn() ? 'wait' : 'again'));
}

/** Tries again after a while, where that can help and the session still waits for us. */
function stumble(message) {
  trouble = message;
  toast.hide();
  if (message.help !== 'wait') return end(message);
  if (waiting.wait(message, window_ms)) return;
  late = seen;
  end(message, 'gave_up');
}

function end(message, note) {
  current += 1;
  leave();
  forget();
  waiting.stop();
  toast.hide();
  view.picture(null);
  bar.leaveFullScreen();
  view.show(seen ? 'ended' : 'failed', message, { note, held: message.wait_ms > 0 });
  if (message.wait_ms > 0) waiting.hold(message.wait_ms);
}

/** Lets go of the connection and of all that belongs to it. */
function leave() {
  unwatch();
  unwatch = () => {};
  bar.showDelay(null);
  keys.release();
  connection?.close();
  connection = null;
}

/** In groups of eight bytes, between which a line may end. */
async function fingerprint(key) {
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', key));
  const digits = [...hash].map((byte) => byte.toString(16).padStart(2, '0'));
  return [0, 8, 16, 24].map((at) => digits.slice(at, at + 8).join(':')).join(' ');
}
