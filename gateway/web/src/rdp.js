// One RDP desktop over one WebSocket. IronRDP draws and speaks RDP, CredSSP included, so that a password goes to the
// machine and to nobody else; it is served as its own unmodified file, loaded on demand. Here is only how a connection
// starts, how hands reach it (rdp_input.js), and how its end is told apart. The shape is that of vnc.js.

import { ofPage } from './message.js';
import { takeHands } from './rdp_input.js';
import { oneByOne } from './rdp_pieces.js';
import { printer } from './rdp_printer.js';
import { scancode } from './scancode.js';

// The file beside this one, which build.mjs names.
const LIBRARY = new URL(`./${IRON_RDP}`, import.meta.url);
// The desktop's own resolution follows the window a moment after that has settled.
const SETTLED_MS = 300;
// What is wrong with a login (IronErrorKind): wrong password, logon failure, access denied.
const LOGIN = [1, 2, 3];
// The gateway gives the reason (IronErrorKind): RDCleanPath, no WebSocket, no security in common.
const OF_THE_GATEWAY = [4, 5, 6];
const TEXT = 'text/plain';
// What a server may make of a wish for a size ([MS-RDPEDISP] section 2.2.2.2.1): even widths, and IronRDP draws those
// that four divides.
const SIDE = { min: 200, max: 8192 };

const NOBODY = { connected() {}, asked() {}, copied() {}, files() {}, printed() {}, gone() {} };

// Of a connection that may come back; in memory, as long as it may.
let login = null;
// Told of the WebSocket that is opened next: IronRDP passes on neither what comes nor how it closed.
let watch = () => {};

globalThis.WebSocket = class extends WebSocket {
  constructor(...how) {
    super(...how);
    watch(this);
  }
};

let library = null;

/** Loads the library; what is returned makes connections. */
export async function load() {
  library ??= import(LIBRARY.href).then(async (module) => {
    // Without a log: the page tells people what happened.
    await module.init('off');
    return module;
  });
  const iron = await library;
  return {
    connect: (screen, ticket, listener) => connect(iron, screen, ticket, listener),
    /** Whoever comes back after this is asked who it is. */
    forget() { login = null; },
  };
}

/** `listener` as in vnc.js; it is asked for a login before anything else, as there is no RDP without. */
function connect(iron, screen, ticket, listener) {
  const { Backend } = iron;
  const place = document.createElement('div');
  place.id = 'rdp-screen';
  const canvas = Object.assign(document.createElement('canvas'), { tabIndex: 0 });
  place.append(canvas);
  screen.replaceChildren(place);

  let session = null;
  let heard = performance.now();
  let close = null;
  let last = null;
  let over = false;
  let offered = '';
  let follow = false;
  let settled;
  const hands = takeHands(canvas, Backend, () => session);
  const files = new iron.RdpFileTransferProvider();
  files.on('files-available', (copied) => listener.files(copied.flatMap(fetched)));
  // Who waits for a file hears of it.
  files.on('error', () => {});

  const end = (how) => {
    if (over) return;
    over = true;
    removeEventListener('resize', resized);
    clearTimeout(settled);
    last = snapshot();
    hands.release();
    files.dispose();
    try { session?.shutdown(); } catch { /* It is gone already. */ }
    session = null;
    place.remove();
    listener.gone(how);
  };

  async function start(answer) {
    let shown = false;
    let whole = () => {};
    try {
      watch = (socket) => {
        watch = () => {};
        whole = oneByOne(socket);
        socket.addEventListener('message', () => { heard = performance.now(); });
        socket.addEventListener('close', ({ code, reason }) => { close = { code, reason }; });
      };
      const made = await builder(answer).connect();
      if (over) return made.shutdown();
      session = made;
      files.setSession(made);
      const running = session.run();
      whole();
      [shown, login] = [true, answer];
      canvas.focus({ preventScroll: true });
      listener.connected();
      await running;
      end({ close: close ?? { code: 1000, reason: '' } });
    } catch (error) {
      end(await why(error, shown));
    }
  }

  function builder({ username, password, domain }) {
    const url = new URL('/rdp', location.href);
    url.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
    url.hash = '';
    const { width, height } = wanted();
    const built = new Backend.SessionBuilder()
      .username(username).password(password).serverDomain(domain ?? '')
      // The gateway knows where the machine is, and asks nobody.
      .destination(location.host)
      .proxyAddress(url.href).authToken(ticket)
      .desktopSize(new Backend.DesktopSize(width, height))
      .renderCanvas(canvas)
      .setCursorStyleCallbackContext(canvas).setCursorStyleCallback(showCursor)
      .remoteClipboardChangedCallback((data) => copied(data))
      .forceClipboardUpdateCallback(() => offer())
      .canvasResizedCallback(() => lay())
      .extension(iron.displayControl(true));
    const more = [...files.getBuilderExtensions(), ...printer(iron, (blob, name) => listener.printed(blob, name))];
    return more.reduce((builder, extension) => builder.extension(extension), built);
  }

  /** A file that the machine has copied; folders are listed with what is in them, and are nothing themselves. */
  function fetched(file, at) {
    if (file.isDirectory) return [];
    return [{ name: file.name, size: file.size, fetch: () => files.downloadFile(file, at).completion }];
  }

  /** How it ended: a close that is on its way is waited for, as it says more. */
  async function why(error, shown) {
    const kind = error?.kind?.();
    if (LOGIN.includes(kind)) {
      login = null;
      return { login: '' };
    }
    if (!shown && OF_THE_GATEWAY.includes(kind)) return { close: { code: 1006, reason: '' } };
    if (!close) await new Promise((resolve) => { setTimeout(resolve, SETTLED_MS); });
    if (!close) return { broken: true };
    // A machine that does not let somebody in may say so by ending the connection.
    if (!shown && close.code === 1000) {
      login = null;
      return { login: '' };
    }
    return { close };
  }

  function copied(data) {
    for (const item of data.items()) if (item.mimeType() === TEXT) listener.copied(item.value());
  }

  function offer() {
    const data = new Backend.ClipboardData();
    if (offered) data.addText(TEXT, offered);
    session?.onClipboardPaste(data);
  }

  function wanted() {
    const side = (length) => Math.min(SIDE.max, Math.max(SIDE.min, length)) & ~3;
    return { width: side(screen.clientWidth), height: side(screen.clientHeight) };
  }

  /** In the middle, as large as there is room, or as it is. */
  function lay() {
    const room = Math.min(screen.clientWidth / canvas.width, screen.clientHeight / canvas.height);
    const scale = place.dataset.fit === 'native' ? 1 : room;
    const [width, height] = [scale * canvas.width, scale * canvas.height];
    Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
    Object.assign(place.style, {
      left: `${Math.max(0, (screen.clientWidth - width) / 2)}px`,
      top: `${Math.max(0, (screen.clientHeight - height) / 2)}px`,
    });
  }

  function resized() {
    lay();
    clearTimeout(settled);
    if (!follow) return;
    settled = setTimeout(() => {
      const { width, height } = wanted();
      if (width !== canvas.width || height !== canvas.height) session?.resize(width, height);
    }, SETTLED_MS);
  }
  addEventListener('resize', resized);

  function snapshot() {
    const drawn = session && canvas.width > 0 ? canvas.getContext('2d') : null;
    return drawn?.getImageData(0, 0, canvas.width, canvas.height) ?? null;
  }

  // The page has to be there to hear of it.
  queueMicrotask(() => {
    if (login) start(login);
    else listener.asked(['username', 'password', 'domain'], ofPage('machine_login'));
  });

  return {
    /** Ends it; nothing more is told. */
    close() {
      listener = NOBODY;
      end({});
    },
    heard: () => heard,
    answer: start,
    trustKey() {},
    focus: () => canvas.focus({ preventScroll: true }),
    key: (keysym, code, down) => hands.key(scancode(keysym, code), keysym, down),
    give(text) {
      offered = text;
      offer();
    },
    /** Offers files of this device to the machine's clipboard; resolves when it has taken all of them. */
    offerFiles: (chosen) => files.uploadFiles(chosen).completion,
    picture: () => last ?? snapshot(),
    size: () => ({ width: canvas.width, height: canvas.height }),
    viewOnly(on) { place.inert = on; },
    quality() {},
    fit(how) {
      place.dataset.fit = how;
      follow = how === 'follow';
      resized();
    },
  };
}

/** IronRDP's words for a cursor; the picture of one is a `data:` address. */
function showCursor(kind, picture, x, y) {
  if (kind === 'url') this.style.cursor = `url(${picture}) ${Math.round(x ?? 0)} ${Math.round(y ?? 0)}, default`;
  else this.style.cursor = kind === 'hidden' ? 'none' : 'default';
}
