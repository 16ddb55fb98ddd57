// Scan codes of a PC keyboard (set 1), which is what SPICE has for keys: those with two bytes begin with 0xe0.

const LETTERS = ['qwertyuiop', 'asdfghjkl', 'zxcvbnm'];
const FIRST = [0x10, 0x1e, 0x2c];

/** `KeyboardEvent.code` -> code. */
const CODES = {
  Escape: 0x01, Backspace: 0x0e, Tab: 0x0f, Enter: 0x1c, ControlLeft: 0x1d, ShiftLeft: 0x2a, AltLeft: 0x38, Space: 0x39,
  F11: 0x57, F12: 0x58,
  MetaLeft: 0xe05b, PrintScreen: 0xe037, Home: 0xe047, ArrowUp: 0xe048, PageUp: 0xe049, ArrowLeft: 0xe04b,
  ArrowRight: 0xe04d, End: 0xe04f, ArrowDown: 0xe050, PageDown: 0xe051, Insert: 0xe052, Delete: 0xe053,
  ...Object.fromEntries(Array.from({ length: 10 }, (_, n) => [`F${n + 1}`, 0x3b + n])),
};

// By what is on the keys of a US keyboard, without and with Shift.
const CHARACTERS = Object.fromEntries([
  ...[...'1234567890-='].map((character, at) => [character, 0x02 + at]),
  ...[...'!@#$%^&*()_+'].map((character, at) => [character, 0x02 + at]),
  ...LETTERS.flatMap((row, nth) => [...row].flatMap((letter, at) => [
    [letter, FIRST[nth] + at], [letter.toUpperCase(), FIRST[nth] + at],
  ])),
  ...[...'[]'].map((character, at) => [character, 0x1a + at]),
  ...[...'{}'].map((character, at) => [character, 0x1a + at]),
  [';', 0x27], [':', 0x27], ["'", 0x28], ['"', 0x28], ['`', 0x29], ['~', 0x29], ['\\', 0x2b], ['|', 0x2b],
  [',', 0x33], ['<', 0x33], ['.', 0x34], ['>', 0x34], ['/', 0x35], ['?', 0x35], [' ', 0x39],
]);

// Keysyms of keys that leave no character, for those that come without a name.
const KEYSYMS = { 0xff0d: 0x1c, 0xff09: 0x0f, 0xff08: 0x0e, 0xff1b: 0x01 };

/**
 * What SPICE is sent for a key that goes down or up: X11 keysym, and name as in `KeyboardEvent.code`, or null. Nothing
 * for a character that a US keyboard does not have.
 */
export function scancodes(keysym, code, down) {
  const found = CODES[code] ?? KEYSYMS[keysym] ?? CHARACTERS[keysym < 0x100 ? String.fromCharCode(keysym) : ''];
  if (found === undefined) return [];
  // Little endian, so that the prefix is sent first; a key that goes up has the highest bit of its own byte.
  const own = (found & 0xff) | (down ? 0 : 0x80);
  return [found > 0xff ? 0xe0 | (own << 8) : own];
}
