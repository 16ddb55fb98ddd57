// A list of the gateway's, kept true: read as a whole once, and then looked at where an event says that something
// happened. Events only say where to look, so it does not matter in which order they and the answers come.

import { Problem, all, call, page } from './api.js';

// More changes at a time than this are read with the whole list.
const SINGLE_MAX = 24;
// Events come in groups.
const GATHER_MS = 100;
// Between two rounds of questions; a whole list that took long is not read again soon.
const PAUSE_MS = 250;
const REST_FACTOR = 3;
const RETRY_MS = 3000;

export class List {
  #running = false;
  #stale = false;
  #pending = new Set();
  #gone = new Set();
  #over = false;

  /**
   * `id` is the field that names an item; `query` what is asked for beside; `keep` says which items belong to the list.
   */
  constructor({ path, id, query = {}, keep = () => true }) {
    Object.assign(this, { path, id, query, keep });
    this.items = new Map();
    /** `unread`, `reading` for the first time, `ready`, or `failed`; how many are read so far, and what went wrong. */
    this.state = 'unread';
    this.count = 0;
    this.problem = null;
    /** Called after each change. */
    this.onChanged = () => {};
  }

  /** Reads the whole list, again if it was read before. */
  read() {
    this.#stale = true;
    this.#run();
  }

  /** Looks at one item; nothing happens before the list is read for the first time. */
  look(id) {
    if (this.state === 'unread') return;
    this.#pending.add(id);
    this.#run();
  }

  /** One is gone for good, whatever the answer to a question that was asked before says of it. */
  forget(id) {
    this.#pending.delete(id);
    this.#gone.add(id);
    if (this.items.delete(id)) this.onChanged();
  }

  /** Nothing is asked any more. */
  stop() {
    this.#over = true;
  }

  async #run() {
    if (this.#running || this.#over) return;
    this.#running = true;
    if (!this.#stale) await pause(GATHER_MS);
    while (!this.#over && (this.#stale || this.#pending.size > 0)) {
      const began = performance.now();
      const good = await this.#round();
      const took = performance.now() - began;
      await pause(good ? Math.max(PAUSE_MS, took * REST_FACTOR) : RETRY_MS);
    }
    this.#running = false;
  }

  async #round() {
    const whole = this.#stale || this.#pending.size > SINGLE_MAX;
    const ids = [...this.#pending];
    this.#pending.clear();
    this.#gone.clear();
    this.#stale = false;
    try {
      if (whole) await this.#readAll();
      else await Promise.all(ids.map((id) => this.#readOne(id)));
      [this.state, this.problem] = ['ready', null];
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      this.problem = problem;
      if (this.state !== 'ready') this.state = 'failed';
      // Another key needs another start.
      if (!problem.isOfKey) this.#stale = true;
    }
    for (const id of this.#gone) this.items.delete(id);
    if (!this.#over) this.onChanged();
    return !this.problem;
  }

  async #readAll() {
    if (this.state !== 'ready') this.state = 'reading';
    const found = await this.fetch((count) => {
      this.count = count;
      if (this.state === 'reading' && !this.#over) this.onChanged();
    });
    this.items = new Map(found.map((item) => [item[this.id], item]));
  }

  async #readOne(id) {
    const item = await call(`${this.path}/${encodeURIComponent(id)}`).catch((problem) => {
      if (problem.status === 404) return null;
      throw problem;
    });
    if (item && this.keep(item)) this.put(id, item);
    else this.items.delete(id);
  }

  /** Everything there is. */
  fetch(tell) {
    return all(this.path, this.query, tell);
  }

  put(id, item) {
    this.items.set(id, item);
  }
}

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

/** A list that is read from its newest end, a page at a time. */
export class Newest extends List {
  /** Where older ones begin; undefined where there are none. */
  next;

  async fetch() {
    const { items, next } = await page(this.path, this.query);
    this.next = next;
    return items;
  }

  /** One more page. */
  async readOlder() {
    const { items, next } = await page(this.path, this.query, this.next);
    for (const item of items) this.put(item[this.id], item);
    this.next = next;
  }
}
