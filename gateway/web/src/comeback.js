// When to try again: soon at first, then more slowly, until the session does not wait for us any longer.

const FIRST_MS = 1000;
// The gateway's clock started a little before ours.
const MARGIN_MS = 1000;

export class Comeback {
  #end;
  #longest;
  #random;
  #last = false;
  /** Tries so far. */
  attempt = 0;

  /** The session waits for `window_ms` from `now`, in milliseconds of any clock. */
  constructor(now, window_ms, random = Math.random) {
    this.#end = now + window_ms;
    this.#longest = Math.min(Math.max(window_ms / 6, 5000), 30_000);
    this.#random = random;
  }

  /** Milliseconds that are left. */
  left(now) {
    return Math.max(0, this.#end - now);
  }

  /** Milliseconds until the next try; null when there is no further one. The last comes just before the end. */
  next(now) {
    if (this.#last) return null;
    this.attempt += 1;
    // Spread, because all pages of a gateway that restarts lose it at the same moment.
    const delay = Math.min(FIRST_MS * 2 ** (this.attempt - 1), this.#longest) * (0.8 + 0.4 * this.#random());
    const room = this.left(now) - MARGIN_MS;
    this.#last = delay >= room;
    return this.#last ? Math.max(0, room) : delay;
  }
}
