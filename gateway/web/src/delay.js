// How long the gateway takes to answer, while somebody looks; and whether it answers at all, because a network that
// is gone ends no connection for minutes.

import { askStatus } from './status.js';

const EVERY_MS = 15_000;

/**
 * Watches until the function that it returns is called. `heard()` is when the screen's connection last received
 * something, by `performance.now()`. `listener` is told `measured(ms)`, ms null where nothing is known, and `lost()`
 * when two questions went without answer and nothing was received meanwhile.
 */
export function watch(ticket, heard, listener) {
  let timer;
  let over = false;

  const ask = async () => {
    if (document.hidden) return next();
    const began = performance.now();
    const silent = await isSilent() && !over && await isSilent();
    if (over) return;
    if (silent && heard() < began) return listener.lost();
    next();
  };
  const isSilent = async () => {
    const { refusal, delay_ms } = await askStatus(ticket);
    if (!over) listener.measured(refusal ? null : delay_ms);
    return refusal?.code === 'unreachable';
  };
  const next = () => { timer = setTimeout(ask, EVERY_MS); };

  ask();
  return () => {
    over = true;
    clearTimeout(timer);
  };
}
