// The panels below the bar: one at a time, opened and closed by its button, closed by Esc and by a press elsewhere.

let open = null;
let leave = () => {};

/** `toScreen` moves the focus to the machine. */
export function start(toScreen) {
  leave = toScreen;
  for (const button of document.querySelectorAll('[aria-controls]')) {
    button.addEventListener('click', () => (open?.button === button ? close() : show(button)));
  }
  document.addEventListener('pointerdown', ({ target }) => {
    if (open && !open.panel.contains(target) && !target.closest('[aria-controls], #toast')) close();
  });
  // Only what noVNC does not take for the machine comes up to here.
  document.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape' || event.target.id === 'typing') return;
    if (!open) return event.target.closest('#bar, .panel') && leave();
    const { button } = open;
    close();
    button.focus();
  });
}

export function close() {
  if (!open) return;
  open.panel.hidden = true;
  open.button.setAttribute('aria-expanded', false);
  open = null;
}

function show(button) {
  close();
  const panel = document.getElementById(button.getAttribute('aria-controls'));
  panel.hidden = false;
  button.setAttribute('aria-expanded', true);
  open = { button, panel };
  if (document.activeElement.id !== 'typing') panel.querySelector('button, input:checked, textarea, select')?.focus();
}
