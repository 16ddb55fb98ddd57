// Hands on an RDP desktop: what a canvas hears, and what IronRDP is given.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { takeHands } from '../src/rdp_input.js';

/** A canvas of 800 by 600 pixels, shown at half of that behind a margin, and what was sent from it. */
function desktop() {
  const sent = [];
  const told = (name) => (...values) => [name, ...values];
  const DeviceEvent = Object.fromEntries([
    'keyPressed', 'keyReleased', 'unicodePressed', 'unicodeReleased', 'mouseMove', 'mouseButtonPressed',
    'mouseButtonReleased', 'wheelRotations',
  ].map((name) => [name, told(name)]));
  class InputTransaction {
    events = [];
    addEvent(event) { this.events.push(event); }
  }
  const session = {
    applyInputs: ({ events }) => sent.push(...events),
    releaseAllInputs: () => sent.push(['released']),
    synchronizeLockKeys: (...locks) => sent.push(['locks', ...locks]),
  };
  const canvas = Object.assign(new EventTarget(), {
    width: 800, height: 600, focus() {}, setPointerCapture() {},
    getBoundingClientRect: () => ({ left: 10, top: 20, width: 400, height: 300 }),
  });
  const hear = (type, values) => {
    const event = Object.assign(new Event(type, { cancelable: true }), { getModifierState: () => false }, values);
    canvas.dispatchEvent(event);
    return event;
  };
  return { sent, hear, hands: takeHands(canvas, { DeviceEvent, InputTransaction }, () => session) };
}

test('the pointer is where it is on the desktop', () => {
  const { sent, hear } = desktop();
  hear('pointermove', { clientX: 10, clientY: 20 });
  hear('pointermove', { clientX: 410, clientY: 320 });
  hear('pointerdown', { clientX: 2000, clientY: -5, button: 2 });
  hear('pointerup', { clientX: 210, clientY: 170, button: 2 });
  assert.deepEqual(sent, [
    ['mouseMove', 0, 0], ['mouseMove', 799, 599], ['mouseMove', 799, 0], ['mouseButtonPressed', 2],
    ['mouseMove', 400, 300], ['mouseButtonReleased', 2],
  ]);
});

test('keys go by their codes, and characters without a key as they are', () => {
  const { sent, hear, hands } = desktop();
  assert.ok(hear('keydown', { key: 'q', code: 'KeyQ' }).defaultPrevented);
  hear('keyup', { key: 'q', code: 'KeyQ' });
  hear('keydown', { key: 'AltGraph', code: 'AltRight' });
  hear('keydown', { key: 'AltGraph', code: 'AltRight', repeat: true });
  hear('keydown', { key: 'ä', code: '' });
  hear('keydown', { key: 'Unidentified', code: '' });
  hands.key(0xe053, 0xffff, true);
  hands.key(undefined, 0x01004e2d, true);
  hands.key(undefined, 0xff50, true);
  assert.deepEqual(sent, [
    ['keyPressed', 0x10], ['keyReleased', 0x10], ['keyPressed', 0xe038], ['unicodePressed', 'ä'], ['keyPressed', 0xe053],
    ['unicodePressed', '中'],
  ]);
});

test('what is held is let go of', () => {
  const { sent, hear } = desktop();
  hear('blur', {});
  hear('pointerenter', { getModifierState: (lock) => lock === 'NumLock' });
  hear('wheel', { deltaX: 0, deltaY: 120, deltaMode: 0 });
  assert.deepEqual(sent, [['released'], ['locks', false, true, false, false], ['wheelRotations', true, -120, 0]]);
});
