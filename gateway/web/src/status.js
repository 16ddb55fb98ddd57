// Asks the gateway whether it would let this ticket in. A refused WebSocket upgrade tells a page nothing at all,
// so this is the only way to learn why.

import { clip } from './words.js';

// Longer than the gateway's own deadline for reaching a target, so that its answer wins over ours.
const TIMEOUT_MS = 30_000;

/**
 * `{ granted: { instance_id, graphics_protocol }, last }`, or `{ refusal: { status, code, message } }`. `last` is why the
 * last try with a good ticket failed, or nothing: the ticket is still good then, but the machine was not there.
 */
export async function askStatus(ticket) {
  let response;
  try {
    response = await fetch('/status', {
      headers: { Authorization: `Bearer ${ticket}` },
      cache: 'no-store',
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch {
    return { refusal: { code: 'unreachable' } };
  }

  const body = await response.json().catch(() => null);
  if (response.ok && typeof body?.instance_id === 'string') {
    const last = body.last_refusal && {
      code: clip(body.last_refusal.code),
      message: clip(body.last_refusal.message),
    };
    return {
      granted: { instance_id: clip(body.instance_id), graphics_protocol: clip(body.graphics_protocol) },
      last,
    };
  }
  return { refusal: { status: response.status, code: clip(body?.code), message: clip(body?.message) } };
}
