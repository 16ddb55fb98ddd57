// X11 keysyms (X Window System protocol, appendix A) of keys and of characters, and names of keys as in
// `KeyboardEvent.code`.

const F1 = 0xffbe;

/** name -> [keysym, code] */
export const KEYS = {
  ctrl: [0xffe3, 'ControlLeft'],
  alt: [0xffe9, 'AltLeft'],
  shift: [0xffe1, 'ShiftLeft'],
  super: [0xffeb, 'MetaLeft'],
  del: [0xffff, 'Delete'],
  tab: [0xff09, 'Tab'],
  esc: [0xff1b, 'Escape'],
  print: [0xff61, 'PrintScreen'],
  enter: [0xff0d, 'Enter'],
  back: [0xff08, 'Backspace'],
  left: [0xff51, 'ArrowLeft'],
  up: [0xff52, 'ArrowUp'],
  right: [0xff53, 'ArrowRight'],
  down: [0xff54, 'ArrowDown'],
  // With Ctrl it is Esc to a terminal.
  '[': [0x5b, 'BracketLeft'],
  ...Object.fromEntries(['c', 'd', 'z'].map((letter) => [letter, [letter.charCodeAt(0), `Key${letter.toUpperCase()}`]])),
  ...Object.fromEntries(Array.from({ length: 12 }, (_, n) => [`f${n + 1}`, [F1 + n, `F${n + 1}`]])),
};

/** Keys that a keyboard on the screen may have and that leave no text, by `KeyboardEvent.key`. */
export const NAMED = {
  Tab: KEYS.tab[0],
  Escape: KEYS.esc[0],
  Home: 0xff50,
  ArrowLeft: KEYS.left[0],
  ArrowUp: KEYS.up[0],
  ArrowRight: KEYS.right[0],
  ArrowDown: KEYS.down[0],
  PageUp: 0xff55,
  PageDown: 0xff56,
  End: 0xff57,
  Delete: KEYS.del[0],
};

// What a US keyboard has on the upper half of its keys. Consoles that know keys only, QEMU for one, need the Shift.
const SHIFTED = /^[A-Z~!@#$%^&*()_+{}|:"<>?]$/;

/** `{ keysym, shift }` of a character. */
export function ofCharacter(character) {
  if (character === '\n' || character === '\r') return { keysym: KEYS.enter[0], shift: false };
  if (character === '\t') return { keysym: KEYS.tab[0], shift: false };
  const point = character.codePointAt(0);
  const latin1 = (point >= 0x20 && point <= 0x7e) || (point >= 0xa0 && point <= 0xff);
  return { keysym: latin1 ? point : 0x01000000 | point, shift: SHIFTED.test(character) };
}

/** Down in order, up in reverse: `[[keysym, code, down], ...]` for names of keys, as in "ctrl alt del". */
export function strokes(names) {
  const keys = names.split(' ').map((name) => KEYS[name]);
  return [...keys.map((key) => [...key, true]), ...keys.reverse().map((key) => [...key, false])];
}

/** The same for text, each character by its keysym. */
export function textStrokes(text) {
  const [shift, code] = KEYS.shift;
  return [...text.replace(/\r\n/g, '\n')].flatMap((character) => {
    const { keysym, shift: shifted } = ofCharacter(character);
    const key = [[keysym, null, true], [keysym, null, false]];
    return shifted ? [[shift, code, true], ...key, [shift, code, false]] : key;
  });
}
