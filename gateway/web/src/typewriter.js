// Keys for a terminal: what a key of the panel, or of a phone, is in bytes (xterm's ctlseqs, "PC-Style Function Keys").

import { KEYS, NAMED } from './keysym.js';

const F1 = KEYS.f1[0];
// xterm.js tells in `modes` whether arrows are in their application mode.
const ARROWS = { [KEYS.up[0]]: 'A', [KEYS.down[0]]: 'B', [KEYS.right[0]]: 'C', [KEYS.left[0]]: 'D', [NAMED.Home]: 'H', [NAMED.End]: 'F' };
const TILDES = { [KEYS.del[0]]: 3, [NAMED.PageUp]: 5, [NAMED.PageDown]: 6 };
const PLAIN = { [KEYS.enter[0]]: '\r', [KEYS.tab[0]]: '\t', [KEYS.esc[0]]: '\x1b', [KEYS.back[0]]: '\x7f' };
const FUNCTIONS = ['OP', 'OQ', 'OR', 'OS', '[15~', '[17~', '[18~', '[19~', '[20~', '[21~', '[23~', '[24~'];

export class Typewriter {
  #terminal;

  #held = new Set();

  /** `terminal` has `modes` as xterm.js has them. */
  constructor(terminal) {
    this.#terminal = terminal;
  }

  /** What is typed when the key with this keysym goes down or up. */
  key(keysym, down) {
    const modifier = ['ctrl', 'alt', 'shift', 'super'].find((name) => KEYS[name][0] === keysym);
    if (modifier) {
      this.#held[down ? 'add' : 'delete'](modifier);
      return '';
    }
    if (!down) return '';
    const typed = this.#bytes(keysym);
    return this.#held.has('alt') && typed ? `\x1b${typed}` : typed;
  }

  #bytes(keysym) {
    if (keysym in ARROWS) return `\x1b${this.#terminal.modes.applicationCursorKeysMode ? 'O' : '['}${ARROWS[keysym]}`;
    if (keysym in TILDES) return `\x1b[${TILDES[keysym]}~`;
    if (keysym in PLAIN) return PLAIN[keysym];
    if (keysym >= F1 && keysym < F1 + FUNCTIONS.length) return `\x1b${FUNCTIONS[keysym - F1]}`;
    // The rest of what X11 has beyond characters is nothing to a terminal.
    if (keysym >= 0xff00 && keysym <= 0xffff) return '';
    const character = String.fromCodePoint(keysym & 0x00ffffff);
    return this.#held.has('ctrl') ? control(character) : character;
  }
}

/** Ctrl with a character: its last five bits, where there is such a control character (ASCII). */
function control(character) {
  if (character === ' ') return '\0';
  if (character === '?') return '\x7f';
  return /^[@-_a-z]$/.test(character) ? String.fromCharCode(character.charCodeAt(0) & 0x1f) : character;
}
