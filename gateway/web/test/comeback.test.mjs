// When the page tries again.

import assert from 'node:assert/strict';
import test from 'node:test';
import { Comeback } from '../src/comeback.js';

/** Times of all tries, in milliseconds from the beginning, where each try fails at once. */
function tries(window_ms, random) {
  const comeback = new Comeback(0, window_ms, () => random);
  const times = [];
  for (let now = 0; ;) {
    const delay = comeback.next(now);
    if (delay === null) return times;
    now += delay;
    times.push(now);
    assert.equal(comeback.attempt, times.length);
  }
}

test('tries come soon, then more slowly, and the last just before the end', () => {
  assert.deepEqual(tries(30_000, 0.5), [1000, 3000, 7000, 12_000, 17_000, 22_000, 27_000, 29_000]);
});

test('tries of many pages are spread, and stay within the time', () => {
  for (const random of [0, 0.25, 0.999]) {
    for (const window_ms of [0, 500, 1000, 5000, 30_000, 3_600_000]) {
      const times = tries(window_ms, random);
      assert.ok(times.length >= 1, `${window_ms}`);
      assert.ok(times.every((time) => time <= Math.max(0, window_ms - 1000)), `${window_ms}: ${times}`);
    }
  }
  assert.notDeepEqual(tries(30_000, 0), tries(30_000, 0.999));
});

test('a long time is not filled with tries', () => {
  const times = tries(3_600_000, 0.5);
  assert.ok(times.length < 130, `${times.length}`);
});

test('a try that took longer than what was left is the last but one', () => {
  const comeback = new Comeback(0, 30_000, () => 0.5);
  assert.equal(comeback.next(0), 1000);
  assert.equal(comeback.next(40_000), 0);
  assert.equal(comeback.next(40_000), null);
  assert.equal(comeback.left(40_000), 0);
});
