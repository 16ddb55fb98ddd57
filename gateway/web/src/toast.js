// A line that comes and goes at the lower edge, with a button where something can be done about it.

const SHOWN_MS = 8000;
// Where there is something to do, there has to be time for it.
const OFFERED_MS = 30_000;

const toast = document.getElementById('toast');
const text = document.getElementById('toast-text');
const button = document.getElementById('toast-action');
let timer;
let act = () => {};

button.addEventListener('click', () => {
  const action = act;
  hide();
  action();
});
// Nobody should have to hurry.
for (const pause of ['pointerenter', 'focusin']) toast.addEventListener(pause, () => clearTimeout(timer));
for (const go of ['pointerleave', 'focusout']) toast.addEventListener(go, expire);

/** Shows `words`; with `label`, beside a button that does `action`. */
export function show(words, label, action) {
  text.textContent = words;
  button.hidden = !label;
  button.textContent = label ?? '';
  act = action ?? (() => {});
  toast.hidden = false;
  expire();
}

export function hide() {
  clearTimeout(timer);
  toast.hidden = true;
}

function expire() {
  clearTimeout(timer);
  timer = setTimeout(hide, button.hidden ? SHOWN_MS : OFFERED_MS);
}
