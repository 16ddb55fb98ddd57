// Which part of the page is shown: the one that the address names behind its #.

import { byId } from './element.js';

const PARTS = ['overview', 'sessions', 'past', 'brokers', 'instances'];

export const current = () => PARTS.find((part) => location.hash === `#${part}`) ?? 'overview';

/** `shown` hears which part is shown from now on. */
export function start(shown) {
  const show = () => {
    const now = current();
    for (const part of PARTS) byId(`${part}-view`).hidden = part !== now;
    for (const link of document.querySelectorAll('[data-part]')) {
      const here = link.dataset.part.split(' ').includes(now);
      if (here) link.setAttribute('aria-current', 'page');
      else link.removeAttribute('aria-current');
    }
    shown(now);
  };
  window.addEventListener('hashchange', show);
  show();
}
