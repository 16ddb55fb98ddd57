// Numbers and times as people read them.

import { bytes } from '../bytes.js';
import { say } from '../language.js';

export { bytes };

export function perSecond(count) {
  return say('units.per_second', { value: count >= 100 || Number.isInteger(count) ? Math.round(count) : count.toFixed(1) });
}

export function bytesPerSecond(count) {
  return say('units.per_second', { value: bytes(Math.round(count)) });
}

/** The two largest units that are not zero. */
export function duration(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const parts = [
    [Math.floor(seconds / 86_400), 'day'],
    [Math.floor(seconds / 3600) % 24, 'hour'],
    [Math.floor(seconds / 60) % 60, 'minute'],
    [seconds % 60, 'second'],
  ];
  const first = parts.findIndex(([count]) => count > 0);
  if (first < 0) return say('units.second', { count: 0 });
  const told = parts.slice(first, first + 2).filter(([count]) => count > 0);
  return told.map(([count, unit]) => say(`units.${unit}`, { count })).join(' ');
}

const pad = (number) => String(number).padStart(2, '0');

/** Time of day in this place. */
export function clock(time) {
  const date = new Date(time);
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map(pad).join(':');
}

/** Day and time in this place; the day only if it is not `today`. */
export function moment(time, today = Date.now()) {
  const date = new Date(time);
  const day = (of) => [of.getFullYear(), pad(of.getMonth() + 1), pad(of.getDate())].join('-');
  return day(date) === day(new Date(today)) ? clock(time) : `${day(date)} ${clock(time)}`;
}
