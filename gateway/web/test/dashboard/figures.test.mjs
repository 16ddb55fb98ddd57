// Figures, and how they are written.

import assert from 'node:assert/strict';
import test from 'node:test';
import { bytes, bytesPerSecond, duration, moment, perSecond } from '../../src/dashboard/format.js';
import { History, roundUp } from '../../src/dashboard/history.js';
import '../../src/dashboard/words.js';

test('a rate is over the time that went by', () => {
  const history = new History();
  history.add(1000, { down: 100 });
  history.add(3000, { down: 500 });
  history.add(3500, { down: 500 });
  assert.deepEqual(history.rates(({ down }) => down).map(({ y }) => y), [200, 0]);
});

test('a counter that began anew has no negative rate', () => {
  const history = new History();
  history.add(0, { down: 1_000_000 });
  history.add(2000, { down: 10 });
  assert.deepEqual(history.rates(({ down }) => down).map(({ y }) => y), [5]);
});

test('what is missing counts as nothing', () => {
  const history = new History();
  history.add(0, {});
  history.add(1000, {});
  assert.deepEqual(history.rates(({ verdicts }) => verdicts?.open).map(({ y }) => y), [0]);
});

test('five minutes are kept, and one sample more for the edge', () => {
  const history = new History();
  for (let at = 0; at <= 1_000_000; at += 10_000) history.add(at, { live: at });
  const points = history.levels(({ live }) => live);
  assert.equal(points.at(-1).x, 1);
  assert.ok(points[0].x <= 0 && points[1].x >= 0, `${points[0].x} ${points[1].x}`);
  assert.equal(points.length, 32);
});

test('scales end at numbers that read well', () => {
  const check = (value, base, expected) => assert.equal(roundUp(value, base), expected, String(value));
  check(0, 10, 1);
  check(3, 10, 5);
  check(5, 10, 5);
  check(51, 10, 100);
  check(4999, 10, 5000);
  check(513, 1024, 1024);
  check(1500, 1024, 2048);
  check(600 * 1024, 1024, 1024 * 1024);
});

test('bytes are written short', () => {
  const check = (count, expected) => assert.equal(bytes(count), expected);
  check(0, '0 B');
  check(1023, '1023 B');
  check(1024, '1.0 KiB');
  check(150 * 1024, '150 KiB');
  check(1.5 * 1024 ** 3, '1.5 GiB');
  check(2 ** 63, '8192 PiB');
  assert.equal(bytesPerSecond(2048.4), '2.0 KiB/s');
  assert.equal(perSecond(0.25), '0.3/s');
  assert.equal(perSecond(1234.5), '1235/s');
});

test('times are written in their two largest units', () => {
  const check = (seconds, expected) => assert.equal(duration(seconds * 1000), expected);
  check(0, '0 s');
  check(-5, '0 s');
  check(59.9, '59 s');
  check(60, '1 min');
  check(3605, '1 h');
  check(3725, '1 h 2 min');
  check(90_061, '1 d 1 h');
});

test('the day is told where it is not today', () => {
  const now = new Date(2026, 10, 20, 12, 0, 0).getTime();
  assert.equal(moment(new Date(2026, 10, 20, 9, 5, 7), now), '09:05:07');
  assert.equal(moment(new Date(2026, 0, 2, 9, 5, 7), now), '2026-01-02 09:05:07');
});
