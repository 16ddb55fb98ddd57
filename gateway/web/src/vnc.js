// One VNC connection over one WebSocket. noVNC draws and speaks RFB; here is only how a connection starts and how
// its end is told apart. Loaded on demand, because noVNC is most of the page's weight.

import './quiet.js';
import RFB from '@novnc/novnc';
import { openSocket } from './socket.js';

// Where there is no mouse, the part of a large screen that is in view is moved with a finger.
const touch = matchMedia('(pointer: coarse)');

// Level of JPEG and of compression, both 0 to 9, as noVNC takes them; the server may do otherwise.
const QUALITY = { sharp: [9, 1], balanced: [6, 2], fast: [2, 6] };

const NOBODY = { connected() {}, asked() {}, unknownKey() {}, copied() {}, gone() {} };

/**
 * `listener` is told: `connected()`, `asked(types)` for credentials, `unknownKey(bytes)` where the server shows a
 * key that a person should check, `copied(text)` when the machine has copied text, and once, last, `gone(end)` with
 * one of `{ login: reason }`, `{ close: { code, reason } }`, `{ broken: true }`; of SPICE `{ refusal: code }`, too.
 */
export function connect(screen, ticket, listener) {
  // Made here and not by noVNC, which does not pass on the close code.
  const socket = openSocket(ticket);
  let close = null;
  let heard = performance.now();
  socket.addEventListener('message', () => { heard = performance.now(); });
  socket.addEventListener('close', ({ code, reason }) => { close = { code, reason }; });

  const rfb = new RFB(screen, socket);
  rfb.background = '';
  // noVNC leaves it out of the tab order.
  const canvas = screen.querySelector('canvas');
  canvas.tabIndex = 0;
  let login = null;

  rfb.addEventListener('connect', () => listener.connected());
  rfb.addEventListener('credentialsrequired', ({ detail }) => listener.asked(detail.types));
  rfb.addEventListener('serververification', ({ detail }) => listener.unknownKey(detail.publickey));
  rfb.addEventListener('clipboard', ({ detail }) => listener.copied(detail.text));
  rfb.addEventListener('securityfailure', ({ detail }) => { login = detail.reason ?? ''; });
  rfb.addEventListener('disconnect', () => {
    if (login !== null) listener.gone({ login });
    // noVNC gives up on a protocol error before the socket has closed.
    else listener.gone(close ? { close } : { broken: true });
  });

  return {
    /** Ends it; nothing more is told. */
    close() {
      listener = NOBODY;
      rfb.disconnect();
    },
    /** When something was last received, by `performance.now()`. */
    heard: () => heard,
    answer: (credentials) => rfb.sendCredentials(credentials),
    trustKey: () => rfb.approveServer(),
    focus: () => rfb.focus({ preventScroll: true }),
    /** A key goes down or up: X11 keysym, and name of the key as in `KeyboardEvent.code`, or null. */
    key: (keysym, code, down) => rfb.sendKey(keysym, code, down),
    /** Offers text to the machine's clipboard. */
    give: (text) => rfb.clipboardPasteFrom(text),
    /** What is on the screen now. */
    picture: () => rfb.getImageData(),
    size: () => ({ width: canvas.width, height: canvas.height }),
    viewOnly(on) { rfb.viewOnly = on; },
    quality(name) { [rfb.qualityLevel, rfb.compressionLevel] = QUALITY[name]; },
    /** `fit`, `native` or `follow`, which fits too where the machine keeps its resolution. */
    fit(how) {
      const native = how === 'native';
      rfb.clipViewport = native && touch.matches;
      rfb.dragViewport = native && touch.matches;
      rfb.scaleViewport = !native;
      rfb.resizeSession = how === 'follow';
    },
  };
}
