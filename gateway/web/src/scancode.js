// Scan codes of a PC keyboard (set 1), which is what SPICE and RDP have for keys: those with two bytes begin with 0xe0.

const LETTERS = ['qwertyuiop', 'asdfghjkl', 'zxcvbnm'];
const FIRST = [0x10, 0x1e, 0x2c];

/** `KeyboardEvent.code` -> code. */
const CODES = {
  Escape: 0x01, Minus: 0x0c, Equal: 0x0d, Backspace: 0x0e, Tab: 0x0f, BracketLeft: 0x1a, BracketRight: 0x1b, Enter: 0x1c,
  ControlLeft: 0x1d, Semicolon: 0x27, Quote: 0x28, Backquote: 0x29, ShiftLeft: 0x2a, Backslash: 0x2b, Comma: 0x33,
  Period: 0x34, Slash: 0x35, ShiftRight: 0x36, NumpadMultiply: 0x37, AltLeft: 0x38, Space: 0x39, CapsLock: 0x3a,
  NumLock: 0x45, ScrollLock: 0x46, NumpadSubtract: 0x4a, NumpadAdd: 0x4e, NumpadDecimal: 0x53, IntlBackslash: 0x56,
  F11: 0x57, F12: 0x58, KanaMode: 0x70, IntlRo: 0x73, Convert: 0x79, NonConvert: 0x7b, IntlYen: 0x7d,
  NumpadEnter: 0xe01c, ControlRight: 0xe01d, NumpadDivide: 0xe035, PrintScreen: 0xe037, AltRight: 0xe038, Home: 0xe047,
  ArrowUp: 0xe048, PageUp: 0xe049, ArrowLeft: 0xe04b, ArrowRight: 0xe04d, End: 0xe04f, ArrowDown: 0xe050,
  PageDown: 0xe051, Insert: 0xe052, Delete: 0xe053, MetaLeft: 0xe05b, MetaRight: 0xe05c, ContextMenu: 0xe05d,
  ...Object.fromEntries(Array.from({ length: 10 }, (_, n) => [`F${n + 1}`, 0x3b + n])),
  ...Object.fromEntries([...'1234567890'].map((digit, at) => [`Digit${digit}`, 0x02 + at])),
  ...Object.fromEntries([...'789'].map((digit, at) => [`Numpad${digit}`, 0x47 + at])),
  ...Object.fromEntries([...'456'].map((digit, at) => [`Numpad${digit}`, 0x4b + at])),
  ...Object.fromEntries([...'1230'].map((digit, at) => [`Numpad${digit}`, 0x4f + at])),
  ...Object.fromEntries(LETTERS.flatMap((row, nth) => (
    [...row].map((letter, at) => [`Key${letter.toUpperCase()}`, FIRST[nth] + at])
  ))),
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
 * The code of a key: X11 keysym, and name as in `KeyboardEvent.code`, or null. Undefined for a character that a US
 * keyboard does not have.
 */
export function scancode(keysym, code) {
  return CODES[code] ?? KEYSYMS[keysym] ?? CHARACTERS[keysym < 0x100 ? String.fromCharCode(keysym) : ''];
}

/** What SPICE is sent for a key that goes down or up; nothing where there is no code. */
export function scancodes(keysym, code, down) {
  const found = scancode(keysym, code);
  if (found === undefined) return [];
  // Little endian, so that the prefix is sent first; a key that goes up has the highest bit of its own byte.
  const own = (found & 0xff) | (down ? 0 : 0x80);
  return [found > 0xff ? 0xe0 | (own << 8) : own];
}
