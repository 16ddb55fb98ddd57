// The WebSocket of a console. The ticket goes along as a subprotocol, which is in no log.

/** `query` is an object of what else is said, or nothing. */
export function openSocket(ticket, query = {}) {
  const url = new URL('/websockify', location.href);
  url.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
  url.search = new URLSearchParams(query);
  url.hash = '';
  return new WebSocket(url, ticket ? ['binary', `ticket.${ticket}`] : ['binary']);
}
