// What comes for IronRDP, one PDU in each message: of a message that has the last one of the handshake and more, it
// drops the rest, which is how a server begins its channels.

/** Cuts what comes behind the handshake of security into PDUs; a part of one stays a part. */
export function cutter() {
  let begun = false;
  let lost = false;
  let header = [];
  // Bytes to come of a PDU whose header was seen.
  let left = 0;
  return (buffer) => {
    const bytes = new Uint8Array(buffer);
    // CredSSP is DER, and no TPKT (RFC 1006 section 6).
    begun ||= bytes[0] === 3;
    const parts = [];
    let start = 0;
    for (let at = 0; begun && !lost && at < bytes.length;) {
      if (left === 0) {
        header.push(bytes[at++]);
        const length = lengthOf(header);
        if (length === undefined) continue;
        left = length - header.length;
        lost = left < 0;
        header = [];
      } else {
        const taken = Math.min(left, bytes.length - at);
        [left, at] = [left - taken, at + taken];
      }
      if (left === 0) {
        parts.push(buffer.slice(start, at));
        start = at;
      }
    }
    if (start < bytes.length) parts.push(start === 0 ? buffer : buffer.slice(start));
    return parts;
  };
}

/** Of a PDU with its header, by TPKT or by fast-path ([MS-RDPBCGR] section 2.2.9.1.2); nothing while it is unknown. */
function lengthOf([action, first, ...more]) {
  if (action === 3) return more.length === 2 ? (more[0] << 8) | more[1] : undefined;
  if (first === undefined || first < 0x80) return first;
  return more.length === 1 ? ((first & 0x7f) << 8) | more[0] : undefined;
}

/** Cuts what comes on `socket` from now on, for all who listen later than this, until what is returned is called. */
export function oneByOne(socket) {
  const cut = cutter();
  let own = null;
  const listener = (event) => {
    if (event === own || !(event.data instanceof ArrayBuffer)) return;
    const parts = cut(event.data);
    if (parts.length < 2) return;
    event.stopImmediatePropagation();
    for (const data of parts) socket.dispatchEvent(own = new MessageEvent('message', { data }));
  };
  socket.addEventListener('message', listener);
  return () => socket.removeEventListener('message', listener);
}
