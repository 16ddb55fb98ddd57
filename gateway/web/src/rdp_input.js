// Hands on an RDP desktop: the pointer, the wheel and the keys of a canvas, as IronRDP takes them. RDP has keys by their
// scan codes, and the machine knows its keyboard's layout; characters without a key go as they are.

import { scancode } from './scancode.js';

// In the order in which IronRDP is told of them.
const LOCKS = ['ScrollLock', 'NumLock', 'CapsLock', 'KanaMode'];
const MODIFIER = /^(Control|Alt|Shift|Meta)(Left|Right)$/;

/** Listens on `canvas`; `current` gives IronRDP's session, or null. */
export function takeHands(canvas, { DeviceEvent, InputTransaction }, current) {
  function send(...events) {
    const session = current();
    if (!session) return;
    const transaction = new InputTransaction();
    for (const event of events) transaction.addEvent(event);
    session.applyInputs(transaction);
  }

  /** Where the pointer is on the desktop, whatever size that is shown in. */
  function place({ clientX, clientY }) {
    const { left, top, width, height } = canvas.getBoundingClientRect();
    const part = (at, from, length, whole) => Math.round(Math.min(Math.max(0, (at - from) / length), 1) * (whole - 1));
    return DeviceEvent.mouseMove(part(clientX, left, width, canvas.width), part(clientY, top, height, canvas.height));
  }

  function syncLocks(event) {
    current()?.synchronizeLockKeys(...LOCKS.map((lock) => event.getModifierState(lock)));
  }

  function key(code, character, down) {
    if (code !== undefined) return send(down ? DeviceEvent.keyPressed(code) : DeviceEvent.keyReleased(code));
    if (character) send(down ? DeviceEvent.unicodePressed(character) : DeviceEvent.unicodeReleased(character));
  }

  function typed(event, down) {
    event.preventDefault();
    if (event.isComposing || (event.repeat && MODIFIER.test(event.code))) return;
    if (LOCKS.includes(event.code)) syncLocks(event);
    key(scancode(-1, event.code), [...event.key].length === 1 ? event.key : '', down);
  }

  canvas.addEventListener('pointermove', (event) => send(place(event)));
  canvas.addEventListener('pointerenter', syncLocks);
  canvas.addEventListener('pointerdown', (event) => {
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    send(place(event), DeviceEvent.mouseButtonPressed(event.button));
  });
  canvas.addEventListener('pointerup', (event) => send(place(event), DeviceEvent.mouseButtonReleased(event.button)));
  canvas.addEventListener('pointercancel', () => current()?.releaseAllInputs());
  canvas.addEventListener('contextmenu', (event) => event.preventDefault());
  canvas.addEventListener('wheel', (event) => {
    event.preventDefault();
    const vertical = event.deltaY !== 0;
    // IronRDP numbers pixels, lines and pages as the browser does.
    send(DeviceEvent.wheelRotations(vertical, -(vertical ? event.deltaY : event.deltaX), event.deltaMode));
  }, { passive: false });
  canvas.addEventListener('keydown', (event) => typed(event, true));
  canvas.addEventListener('keyup', (event) => typed(event, false));
  // What is down when the screen loses the focus would stay down in the machine.
  canvas.addEventListener('blur', () => current()?.releaseAllInputs());

  return {
    /** A key of the page's own goes down or up: its scan code, or the keysym of a character. */
    key: (code, keysym, down) => key(code, ofKeysym(keysym), down),
    /** Nothing is held any more. */
    release() {
      try { current()?.releaseAllInputs(); } catch { /* It is gone already. */ }
    },
  };
}

/** The character of an X11 keysym; empty for keys that leave none. */
function ofKeysym(keysym) {
  if (keysym >= 0x01000000) return String.fromCodePoint(keysym & 0xffffff);
  return keysym < 0x100 ? String.fromCharCode(keysym) : '';
}
