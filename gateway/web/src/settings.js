// The panel of settings: size, picture, text, language. They hold for this page only.

import * as toast from './toast.js';
import { offer, say } from './words.js';

// What a machine may take to change its resolution.
const RESIZE_MS = 3000;

const byId = (id) => document.getElementById(id);
const chosen = (name) => document.querySelector(`input[name=${name}]:checked`).value;

export function start(connection) {
  for (const name of ['size', 'quality', 'font']) {
    byId(name).addEventListener('change', () => {
      const shown = connection();
      if (shown) apply(shown);
      if (shown && name === 'size' && chosen('size') === 'follow') watchResize(shown, connection);
    });
  }

  offer(byId('language'));
}

/** Applies what is chosen and of use, also to a new connection. */
export function apply(shown) {
  shown.fit?.(chosen('size'));
  shown.quality?.(chosen('quality'));
  shown.fontSize?.(chosen('font'));
}

/** Says so where the machine does not follow: no server tells that it will not. */
function watchResize(vnc, connection) {
  const { clientWidth: width, clientHeight: height } = byId('screen');
  setTimeout(() => {
    if (connection() !== vnc || chosen('size') !== 'follow') return;
    const now = vnc.size();
    // Servers round to what their screens can be.
    const follows = Math.abs(now.width - width) < 16 && Math.abs(now.height - height) < 16;
    if (!follows) toast.show(say('toasts.keeps_size'));
  }, RESIZE_MS);
}
