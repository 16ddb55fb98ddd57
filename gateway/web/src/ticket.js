// The ticket: taken out of the address bar before anything else happens, and then kept in memory only, so that it
// is neither in the history, nor in a screenshot, nor in a copied address.

// A WebSocket subprotocol must be an HTTP token (RFC 6455 section 4.1); a ticket is made of a safe part of it.
const TICKET = /^[\w.~-]+$/;

/** The ticket in a fragment such as `#token=abc`: `{ ticket }`, `{ damaged: true }`, or `{}` where there is none. */
export function readTicket(fragment) {
  const ticket = new URLSearchParams(fragment.replace(/^#/, '')).get('token');
  if (!ticket) return {};
  return TICKET.test(ticket) ? { ticket } : { damaged: true };
}

export function takeTicket() {
  const found = readTicket(location.hash);
  if (location.hash) history.replaceState(null, '', location.pathname + location.search);
  return found;
}
