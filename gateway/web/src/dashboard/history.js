// Figures over time. Counters become rates, over the time that really went by between two answers.

const SPAN_MS = 300_000;
// Less is not drawn over the whole width.
const SHORTEST_MS = 30_000;

/** Samples of the last minutes, the oldest first. */
export class History {
  samples = [];

  /** `values` are as of `at`, in milliseconds of a clock that never goes back. */
  add(at, values) {
    this.samples.push({ at, values });
    // One from before the span, so that a curve begins at its edge.
    while (this.samples.length > 2 && this.samples[1].at < at - SPAN_MS) this.samples.shift();
  }

  /** How far back the samples reach, in milliseconds, within bounds. */
  get span() {
    const reach = this.samples.at(-1).at - this.samples[0].at;
    return Math.min(Math.max(reach, SHORTEST_MS), SPAN_MS);
  }

  /** Points of `read(values)`: `x` from 0, the span ago, to 1, now. */
  levels(read) {
    return this.samples.map(({ at, values }) => ({ x: this.#place(at), y: read(values) ?? 0, at }));
  }

  /** The same of a counter, per second. One that began anew counts from zero. */
  rates(read) {
    return this.samples.slice(1).map(({ at, values }, index) => {
      const before = this.samples[index];
      const [now, then] = [read(values) ?? 0, read(before.values) ?? 0];
      const seconds = Math.max(at - before.at, 1) / 1000;
      return { x: this.#place(at), y: (now < then ? now : now - then) / seconds, at };
    });
  }

  #place(at) {
    return 1 - (this.samples.at(-1).at - at) / this.span;
  }
}

/** The next higher number that reads well: 1, 2 or 5 with zeros; in binary steps for bytes. */
export function roundUp(value, base = 10) {
  if (value <= 1) return 1;
  let unit = 1;
  const steps = base === 10 ? [1, 2, 5] : [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];
  for (;;) {
    for (const step of steps) if (value <= step * unit) return step * unit;
    unit *= base === 10 ? 10 : 1024;
  }
}
