// One terminal over one WebSocket: serial lines and containers. xterm.js draws and knows keys; here is how a connection
// starts, how its end is told apart, and how the machine learns of the window. Loaded on demand.

import { FitAddon } from '@xterm/addon-fit';
import { SearchAddon } from '@xterm/addon-search';
import { Terminal } from '@xterm/xterm';
import { openSocket } from './socket.js';
import { Typewriter } from './typewriter.js';

const SCROLLBACK = 10_000;
const FONT = 'ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace';
const FONT_SIZES = { small: 12, middle: 15, large: 19 };
// What is found is framed; xterm.js wants its colours in six digits.
const FOUND = {
  matchBackground: '#3b5b8c', matchOverviewRuler: '#3b5b8c', activeMatchBackground: '#c07a1a', activeMatchColorOverviewRuler: '#c07a1a',
};
// While a window is dragged, the machine hears of its size so often.
const RESIZE_MS = 100;

const NOBODY = { connected() {}, copied() {}, selected() {}, found() {}, gone() {} };

/**
 * `listener` is told: `connected()`, `copied(text)` when the machine has copied text, `selected(text)` when a person
 * has marked some, `found(number, count)` of a search, and once, last, `gone({ close: { code, reason } })`.
 */
export function connect(screen, ticket, listener) {
  const terminal = new Terminal({
    fontFamily: FONT, fontSize: FONT_SIZES.middle, scrollback: SCROLLBACK, allowProposedApi: true, cursorBlink: true,
  });
  const [fit, search] = [new FitAddon(), new SearchAddon()];
  terminal.loadAddon(fit);
  terminal.loadAddon(search);
  terminal.open(screen);
  fit.fit();

  const { cols, rows } = terminal;
  const socket = openSocket(ticket, { columns: cols, rows });
  socket.binaryType = 'arraybuffer';
  let heard = performance.now();
  const send = (bytes) => { if (socket.readyState === WebSocket.OPEN) socket.send(bytes); };

  socket.addEventListener('open', () => listener.connected());
  socket.addEventListener('message', ({ data }) => {
    heard = performance.now();
    terminal.write(new Uint8Array(data));
  });
  socket.addEventListener('close', ({ code, reason }) => listener.gone({ close: { code, reason } }));

  const typewriter = new Typewriter(terminal);
  // Text goes as text; what is no text, such as some reports of the mouse, as bytes.
  terminal.onData((text) => send(text));
  terminal.onBinary((text) => send(Uint8Array.from(text, (character) => character.charCodeAt(0))));
  terminal.onSelectionChange(() => listener.selected(terminal.getSelection()));
  search.onDidChangeResults(({ resultIndex, resultCount }) => listener.found(resultIndex + 1, resultCount));
  // "52;c;" and base64: what a program in the terminal copies (xterm's ctlseqs, "Manipulate Selection Data").
  terminal.parser.registerOscHandler(52, (content) => {
    listener.copied(fromBase64(content.slice(content.indexOf(';') + 1)));
    return true;
  });
  // As in other terminals: with Shift, because Ctrl-C alone is the machine's.
  terminal.attachCustomKeyEventHandler((event) => {
    const copies = event.ctrlKey && event.shiftKey && event.code === 'KeyC' && terminal.hasSelection();
    if (copies && event.type === 'keydown') {
      event.preventDefault();
      document.execCommand('copy');
    }
    return !(event.ctrlKey && event.shiftKey && (event.code === 'KeyC' || event.code === 'KeyV'));
  });

  let timer;
  terminal.onResize((size) => {
    clearTimeout(timer);
    timer = setTimeout(tellSize, RESIZE_MS, ticket, size);
  });
  const observer = new ResizeObserver(() => fit.fit());
  observer.observe(screen);

  return {
    /** Ends it; nothing more is told. */
    close() {
      listener = NOBODY;
      clearTimeout(timer);
      observer.disconnect();
      socket.close();
      terminal.dispose();
    },
    heard: () => heard,
    focus: () => terminal.focus(),
    /** A key goes down or up: X11 keysym, as for a screen. */
    key: (keysym, code, down) => terminal.input(typewriter.key(keysym, down)),
    /** Types text as if it were pasted. */
    give: (text) => terminal.paste(text),
    /** A terminal that comes back has its text from the gateway. */
    picture: () => null,
    viewOnly(on) { terminal.options.disableStdin = on; },
    fontSize(name) {
      terminal.options.fontSize = FONT_SIZES[name];
      fit.fit();
    },
    /** Marks what is found; `back` looks upwards. */
    find(text, back) {
      const options = { decorations: FOUND, incremental: !back };
      if (back) search.findPrevious(text, options);
      else search.findNext(text, options);
    },
    findNext: (text) => search.findNext(text, { decorations: FOUND }),
    stopFinding: () => search.clearDecorations(),
  };
}

/** Beside the stream, which is the machine's. A gateway that is gone has no windows. */
function tellSize(ticket, { cols, rows }) {
  const headers = ticket ? { Authorization: `Bearer ${ticket}` } : {};
  fetch(`/resize?columns=${cols}&rows=${rows}`, { headers, cache: 'no-store' }).catch(() => {});
}

/** UTF-8 in base64; empty where it is none. */
function fromBase64(text) {
  try {
    return new TextDecoder().decode(Uint8Array.from(atob(text), (character) => character.charCodeAt(0)));
  } catch {
    return '';
  }
}
