// What the page makes of the gateway's answer to GET /status.

import assert from 'node:assert/strict';
import test from 'node:test';
import { askStatus } from '../src/status.js';

const GRANTED = { instance_id: 'i-1', graphics_protocol: 'vnc', reconnect_s: 30 };

async function asked(t, body, status = 200) {
  t.mock.method(globalThis, 'fetch', async () => Response.json(body, { status }));
  return askStatus('a ticket');
}

test('times come in seconds, and are used in milliseconds', async (t) => {
  const last_refusal = { code: 'target_password', message: 'wrong', retry_after_s: 7 };
  const { granted, last } = await asked(t, { ...GRANTED, last_refusal });
  assert.equal(granted.window_ms, 30_000);
  assert.deepEqual(last, { code: 'target_password', message: 'wrong', wait_ms: 7000 });
});

test('without a time, a try may come at once', async (t) => {
  for (const retry_after_s of [null, undefined, 'soon']) {
    const { last } = await asked(t, { ...GRANTED, last_refusal: { code: 'target_refused', message: '', retry_after_s } });
    assert.equal(last.wait_ms, 0, String(retry_after_s));
  }
  assert.equal((await asked(t, { ...GRANTED, last_refusal: null })).last, null);
});

test('a refusal is told as it came', async (t) => {
  const { refusal } = await asked(t, { code: 'wrong_ticket', message: 'no' }, 403);
  assert.deepEqual(refusal, { status: 403, code: 'wrong_ticket', message: 'no' });
});
