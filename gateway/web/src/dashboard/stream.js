// The events of the gateway, from now on: one stream that is taken up again whenever it ends.

import { request } from './api.js';
import { parser } from './sse.js';

// The gateway says something every 15 s.
const SILENCE_MS = 40_000;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 10_000;

/**
 * Listens until `signal`. `onOpen` is called whenever events begin, or some were missed: what was known may be old;
 * `onDown` when the stream is gone, with the problem.
 */
export async function listen({ onOpen, onEvent, onDown, signal }) {
  let pause = FIRST_PAUSE_MS;
  while (!signal.aborted) {
    try {
      await once({ onEvent, signal, onOpen: () => { pause = FIRST_PAUSE_MS; onOpen(); } });
      onDown(null);
    } catch (problem) {
      if (signal.aborted) return;
      onDown(problem);
    }
    await sleep(pause, signal);
    pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
  }
}

async function once({ onOpen, onEvent, signal }) {
  const silent = new AbortController();
  const response = await request('v1/events', { signal: AbortSignal.any([signal, silent.signal]) });
  onOpen();
  const feed = parser((name, data) => (name === 'lost' ? onOpen() : onEvent(JSON.parse(data))));
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const timer = setTimeout(() => silent.abort(), SILENCE_MS);
    const { done, value } = await reader.read().finally(() => clearTimeout(timer));
    if (done) return;
    feed(value);
  }
}

/** Also over when the network is back. */
function sleep(ms, signal) {
  return new Promise((resolve) => {
    const awake = new AbortController();
    const wake = () => { clearTimeout(timer); awake.abort(); resolve(); };
    const timer = setTimeout(wake, ms);
    signal.addEventListener('abort', wake, { signal: awake.signal });
    window.addEventListener('online', wake, { signal: awake.signal });
  });
}
