// What the link carries: the ticket, taken out of the address bar before anything else happens, and then kept in
// memory only, so that it is neither in the history, nor in a screenshot, nor in a copied address.

// A WebSocket subprotocol must be an HTTP token (RFC 6455 section 4.1); a ticket is made of a safe part of it.
const TICKET = /^[\w.~-]+$/;

/**
 * What is in a fragment such as `#token=abc&view_only=1&lang=zh`: `{ ticket, viewOnly, language }`. `damaged` is set
 * where the ticket cannot be one; without a ticket it is empty.
 */
export function readLink(fragment) {
  const given = new URLSearchParams(fragment.replace(/^#/, ''));
  const ticket = given.get('token') ?? '';
  return {
    ticket,
    damaged: ticket !== '' && !TICKET.test(ticket),
    viewOnly: given.get('view_only') === '1',
    language: given.get('lang'),
  };
}

export function takeLink() {
  const found = readLink(location.hash);
  if (location.hash) history.replaceState(null, '', location.pathname + location.search);
  return found;
}
