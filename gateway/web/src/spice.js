// One SPICE desktop over a WebSocket for each of its channels. spice-html5 draws and speaks SPICE; it is served as its
// own unmodified files (LGPL), loaded on demand. Here is only how a desktop starts, how keys reach it, and how its end is
// told apart. The shape is that of vnc.js.

import { scancodes } from './scancode.js';

// The folder of its files beside this one, which build.mjs names.
const LIBRARY = new URL(`./${SPICE_HTML5}/`, import.meta.url);
// spice-html5 finds its place by this id.
const PLACE = 'spice-screen';
// The desktop's own resolution follows the window a moment after that has settled.
const SETTLED_MS = 300;

const NOBODY = { connected() {}, gone() {} };

/** Loads the library; what is returned makes connections. */
export async function load() {
  const [{ SpiceMainConn }, { SpiceMiniData, SpiceMsgcKeyDown, SpiceMsgcKeyUp }, { Constants }] = await Promise.all(
    ['main.js', 'spicemsg.js', 'enums.js'].map((file) => import(new URL(file, LIBRARY).href)),
  );
  const library = { SpiceMainConn, SpiceMiniData, SpiceMsgcKeyDown, SpiceMsgcKeyUp, Constants };
  return { connect: (screen, ticket, listener) => connect(library, screen, ticket, listener) };
}

/** `listener` as in vnc.js, of whom a desktop only ever says `connected()` and `gone(end)`. */
function connect(library, screen, ticket, listener) {
  const url = new URL('/websockify', location.href);
  url.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
  url.hash = '';
  // Each channel goes to the same URL; the gateway shows a query to nobody.
  url.search = ticket ? `?token=${ticket}` : '';

  const place = Object.assign(document.createElement('div'), { id: PLACE });
  screen.replaceChildren(place);
  let heard = performance.now();
  let last = null;
  let over = false;
  let follow = false;
  let settled;

  const end = (how) => {
    if (over) return;
    over = true;
    observer.disconnect();
    removeEventListener('resize', resized);
    clearTimeout(settled);
    last = snapshot();
    try { spice.stop(); } catch { /* It may have come half of its way. */ }
    place.remove();
    listener.gone(how);
  };
  const spice = new library.SpiceMainConn({
    uri: url.href,
    screen_id: PLACE,
    // A password is the gateway's affair; where it is not, there is nobody to ask for one.
    password: '',
    onerror: (error) => failed(error),
    onagent: () => resized(),
  });
  spice.ws.addEventListener('message', () => { heard = performance.now(); });
  spice.ws.addEventListener('close', ({ code, reason }) => end({ close: { code, reason } }));

  function failed(error) {
    // A password that a desktop does not take is said by SPICE, and is the gateway's; all else shows in how the
    // connection closed.
    if (/password|permission/i.test(String(error?.message))) end({ refusal: 'target_password' });
    else if (spice.ws.readyState === WebSocket.OPEN) spice.ws.close();
  }

  const canvas = () => place.querySelector('canvas');
  // The screen is there with its first surface.
  const observer = new MutationObserver((changes) => {
    for (const { addedNodes } of changes) for (const node of addedNodes) placeVideo(node);
    if (!canvas()) return;
    canvas().tabIndex = 0;
    lay();
    spice.display?.ws.addEventListener('message', () => { heard = performance.now(); });
    if (!observer.told) listener.connected();
    observer.told = true;
  });
  observer.observe(place, { childList: true });

  /** Where spice-html5 puts a video is in an attribute, which our policy lets nobody use; the same by script is allowed. */
  function placeVideo(node) {
    if (node.localName === 'video') node.style.cssText = node.getAttribute('style') ?? '';
  }

  /** In the middle; scaled by a transform, which spice-html5's pointer is right in, unlike in a canvas of another size. */
  function lay() {
    const shown = canvas();
    if (!shown) return;
    const [width, height] = [screen.clientWidth, screen.clientHeight];
    const scale = place.dataset.fit === 'native' ? 1 : Math.min(width / shown.width, height / shown.height);
    Object.assign(place.style, {
      width: `${shown.width}px`,
      left: `${Math.max(0, (width - scale * shown.width) / 2)}px`,
      top: `${Math.max(0, (height - scale * shown.height) / 2)}px`,
      transform: scale === 1 ? '' : `scale(${scale})`,
    });
  }

  function resized() {
    lay();
    clearTimeout(settled);
    if (!follow || !spice.agent_connected) return;
    // X asks for multiples of eight.
    settled = setTimeout(() => spice.resize_window(0, screen.clientWidth & ~7, screen.clientHeight & ~7, 32, 0, 0), SETTLED_MS);
  }
  addEventListener('resize', resized);

  function snapshot() {
    const shown = canvas();
    return shown?.width ? shown.getContext('2d').getImageData(0, 0, shown.width, shown.height) : null;
  }

  function send(code, down) {
    const { Constants } = library;
    if (spice.inputs?.state !== 'ready') return;
    const key = down ? new library.SpiceMsgcKeyDown() : new library.SpiceMsgcKeyUp();
    key.code = code;
    const message = new library.SpiceMiniData();
    message.build_msg(down ? Constants.SPICE_MSGC_INPUTS_KEY_DOWN : Constants.SPICE_MSGC_INPUTS_KEY_UP, key);
    spice.inputs.send_msg(message);
  }

  return {
    close() {
      listener = NOBODY;
      end({});
    },
    heard: () => heard,
    answer() {},
    trustKey() {},
    focus: () => canvas()?.focus({ preventScroll: true }),
    key: (keysym, code, down) => scancodes(keysym, code, down).forEach((each) => send(each, down)),
    // There is no clipboard in spice-html5.
    give() {},
    picture: () => last ?? snapshot(),
    size: () => ({ width: canvas()?.width ?? 0, height: canvas()?.height ?? 0 }),
    viewOnly(on) { place.inert = on; },
    quality() {},
    fit(how) {
      place.dataset.fit = how;
      follow = how === 'follow';
      resized();
    },
  };
}
