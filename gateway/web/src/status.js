// Asks the gateway whether it would let this ticket in. A refused WebSocket upgrade tells a page nothing at all,
// so this is the only way to learn why.

import { clip } from './message.js';

// The gateway answers at once. Where a filter drops what is for a gateway that is gone, nothing answers.
const TIMEOUT_MS = 8000;

/**
 * `{ granted: { instance, protocol, window_ms, viewOnly }, last, delay_ms }`, or `{ refusal: { status, code, message } }`.
 * `last`, `{ code, message, wait_ms }`, is why the last try with a good ticket failed, or nothing: the ticket is still
 * good then, but the machine was not there, and a try within `wait_ms` is of no use. `delay_ms` is from the question sent to the first byte of its answer, without connecting; or nothing.
 */
export async function askStatus(ticket) {
  let response;
  try {
    response = await fetch('/status', {
      // A broker may let clients in without, and a cookie may carry it.
      headers: ticket ? { Authorization: `Bearer ${ticket}` } : {},
      cache: 'no-store',
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch {
    return { refusal: { code: 'unreachable' } };
  }

  const body = await response.json().catch(() => null);
  if (!response.ok || typeof body?.instance_id !== 'string') {
    return { refusal: { status: response.status, code: clip(body?.code), message: clip(body?.message) } };
  }
  const last = body.last_refusal;
  return {
    granted: {
      instance: clip(body.instance_id),
      protocol: clip(body.graphics_protocol),
      window_ms: 1000 * (Number(body.reconnect_s) || 0),
      viewOnly: body.view_only === true,
    },
    last: last && { code: clip(last.code), message: clip(last.message), wait_ms: 1000 * (Number(last.retry_after_s) || 0) },
    delay_ms: measured(),
  };
}

/** Of the last answer. The browser's list of them is emptied, because it is a short one. */
function measured() {
  const answers = performance.getEntriesByType('resource').filter(({ name }) => new URL(name).pathname === '/status');
  performance.clearResourceTimings();
  const { requestStart = 0, responseStart = 0 } = answers.at(-1) ?? {};
  return requestStart > 0 && responseStart >= requestStart ? responseStart - requestStart : null;
}
