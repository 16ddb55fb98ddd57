// One VNC connection over one WebSocket. noVNC draws and speaks RFB; here is only how a connection starts and how
// its end is told apart. Loaded on demand, because noVNC is most of the page's weight.

import RFB from '@novnc/novnc';

// Where there is no mouse, the part of a large screen that is in view is moved with a finger.
const touch = matchMedia('(pointer: coarse)');

/**
 * `listener` is told: `connected()`, `asked(types)` for credentials, `unknownKey(bytes)` where the server shows a
 * key that a person should check, and once, last, `gone(end)` with one of `{ login: reason }`,
 * `{ close: { code, reason } }`, `{ broken: true }`.
 */
export function connect(screen, ticket, listener) {
  const url = new URL('/websockify', location.href);
  url.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
  url.search = '';
  url.hash = '';

  // Made here and not by noVNC, which does not pass on the close code.
  const socket = new WebSocket(url, ['binary', `ticket.${ticket}`]);
  let close = null;
  socket.addEventListener('close', ({ code, reason }) => { close = { code, reason }; });

  const rfb = new RFB(screen, socket);
  rfb.background = '';
  let login = null;

  rfb.addEventListener('connect', () => listener.connected());
  rfb.addEventListener('credentialsrequired', ({ detail }) => listener.asked(detail.types));
  rfb.addEventListener('serververification', ({ detail }) => listener.unknownKey(detail.publickey));
  rfb.addEventListener('securityfailure', ({ detail }) => { login = detail.reason ?? ''; });
  rfb.addEventListener('disconnect', () => {
    if (login !== null) listener.gone({ login });
    // noVNC gives up on a protocol error before the socket has closed.
    else listener.gone(close ? { close } : { broken: true });
  });

  return {
    close() {
      listener = { connected() {}, asked() {}, unknownKey() {}, gone() {} };
      rfb.disconnect();
    },
    answer: (credentials) => rfb.sendCredentials(credentials),
    trustKey: () => rfb.approveServer(),
    focus: () => rfb.focus({ preventScroll: true }),
    ctrlAltDel: () => rfb.sendCtrlAltDel(),
    fit(on) {
      rfb.clipViewport = !on && touch.matches;
      rfb.dragViewport = !on && touch.matches;
      rfb.scaleViewport = on;
    },
  };
}
