import assert from 'node:assert/strict';
import { test } from 'node:test';

import { cutter, oneByOne } from '../src/rdp_pieces.js';

const TPKT = [3, 0, 0, 7, 2, 0xf0, 0x80];
const SHORT = [0, 4, 1, 2];
const LONG = [0, 0x81, 0x00, ...Array(253).fill(7)];

const buffer = (...parts) => new Uint8Array(parts.flat()).buffer;
const bytes = (parts) => parts.map((part) => [...new Uint8Array(part)]);

test('a message of many PDUs is cut', () => {
  assert.deepEqual(bytes(cutter()(buffer(TPKT, SHORT, LONG, TPKT))), [TPKT, SHORT, LONG, TPKT]);
});

test('a PDU that comes in parts stays in parts, wherever it breaks', () => {
  const all = [TPKT, LONG, SHORT, TPKT].flat();
  for (let at = 1; at < all.length; at++) {
    const cut = cutter();
    const first = bytes(cut(buffer(all.slice(0, at))));
    const second = bytes(cut(buffer(all.slice(at))));
    assert.deepEqual([...first, ...second].flat(), all, `cut at ${at}`);
    assert.deepEqual(second.at(-1), at > all.length - TPKT.length ? all.slice(at) : TPKT, `cut at ${at}`);
  }
});

test('what is no RDP yet is left alone', () => {
  const cut = cutter();
  const credssp = [0x30, 3, 2, 1, 6];
  assert.deepEqual(bytes(cut(buffer(credssp, TPKT))), [[...credssp, ...TPKT]]);
  assert.deepEqual(bytes(cut(buffer(TPKT, SHORT))), [TPKT, SHORT]);
});

test('a length that cannot be ends the cutting', () => {
  const cut = cutter();
  assert.deepEqual(bytes(cut(buffer(TPKT, [3, 0, 0, 1, 9], TPKT))).flat(), [...TPKT, 3, 0, 0, 1, 9, ...TPKT]);
  assert.deepEqual(bytes(cut(buffer(TPKT, TPKT))), [[...TPKT, ...TPKT]]);
});

test('who listens gets one after the other, until it is over', () => {
  const socket = new EventTarget();
  const come = (data) => socket.dispatchEvent(new MessageEvent('message', { data }));
  const over = oneByOne(socket);
  const got = [];
  socket.addEventListener('message', ({ data }) => got.push(...bytes([data])));
  come(buffer(TPKT, SHORT));
  assert.deepEqual(got.splice(0), [TPKT, SHORT]);
  come(buffer(TPKT));
  assert.deepEqual(got.splice(0), [TPKT]);
  over();
  come(buffer(TPKT, SHORT));
  assert.deepEqual(got, [[...TPKT, ...SHORT]]);
});
