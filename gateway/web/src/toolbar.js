// The buttons beside the screen, and the way back to them by keyboard: the screen takes every key, Tab too.

const byId = (id) => document.getElementById(id);
const screen = byId('screen');
const sendKeys = byId('ctrl-alt-del');
const nativeSize = byId('native-size');
const fullScreen = byId('full-screen');

const MODIFIER = /^(Control|Alt|Shift)(Left|Right)$/;

/** `connection` gives the connection of the moment, or null. */
export function start(connection) {
  sendKeys.addEventListener('click', () => act((vnc) => vnc.ctrlAltDel()));
  nativeSize.addEventListener('click', () => {
    const on = nativeSize.getAttribute('aria-pressed') !== 'true';
    nativeSize.setAttribute('aria-pressed', on);
    act(fit);
  });

  // Phones that cannot do it have no such button.
  fullScreen.hidden = !document.fullscreenEnabled;
  fullScreen.addEventListener('click', () => act(async () => {
    if (document.fullscreenElement) await document.exitFullscreen();
    else await document.documentElement.requestFullscreen();
  }));
  document.addEventListener('fullscreenchange', () => {
    fullScreen.setAttribute('aria-pressed', Boolean(document.fullscreenElement));
  });

  leaveScreenByKeys();

  // A button is pressed to go on working in the screen.
  async function act(action) {
    const vnc = connection();
    if (!vnc) return;
    // The browser may refuse full screen; the page is as good without.
    await Promise.resolve(action(vnc)).catch(() => {});
    vnc.focus();
  }
}

/** Applies what the size button says, also to a new connection. */
export function fit(vnc) {
  vnc.fit(nativeSize.getAttribute('aria-pressed') !== 'true');
}

// Ctrl, Alt and Shift pressed and let go together, with no other key, move to the buttons. The move comes with the
// last key up, because a key that is down when the screen loses focus would stay down in the machine.
function leaveScreenByKeys() {
  const held = new Set();
  let all = false;
  let other = false;
  const reset = () => { held.clear(); all = other = false; };

  // Capture, because noVNC lets no key event go further.
  screen.addEventListener('keydown', ({ code }) => {
    const modifier = MODIFIER.exec(code)?.[1];
    if (modifier) held.add(modifier);
    else other = true;
    all ||= held.size === 3;
  }, true);
  screen.addEventListener('keyup', ({ code }) => {
    held.delete(MODIFIER.exec(code)?.[1]);
    if (held.size > 0) return;
    if (all && !other) sendKeys.focus();
    reset();
  }, true);
  window.addEventListener('blur', reset);
}
