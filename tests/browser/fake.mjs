// A gateway and a machine that are not there, for states of the page that a real one reaches once in a while only:
// answers to /status as they are told, and a VNC server (RFC 6143 section 7) with a small screen of one colour.

const WIDTH = 640;
const HEIGHT = 400;

/** Installs it in `page`; the object that it returns is told what to do. */
export async function install(page) {
  const fake = { status: null, security: 1, silent: false, open: new Set() };
  await page.route((url) => url.pathname === '/status', (route) => {
    if (fake.status === null) return route.abort();
    const { code = 200, body } = fake.status;
    return route.fulfill({ status: code, json: body });
  });
  await page.routeWebSocket(() => true, (socket) => {
    fake.open.add(socket);
    socket.onClose(() => fake.open.delete(socket));
    if (!fake.silent) serve(socket, fake.security);
  });
  await page.addInitScript(nameMembers);
  return fake;
}

/** noVNC looks for the members of a WebSocket on its class itself, where Playwright's stand-in has none. */
function nameMembers() {
  const members = ['send', 'close', 'binaryType', 'onerror', 'onmessage', 'onopen', 'protocol', 'readyState'];
  const Named = class extends window.WebSocket {};
  for (const name of members) {
    const member = inherited(Named.prototype, name);
    // What it lacks is a field, which noVNC finds.
    if (member) Object.defineProperty(Named.prototype, name, member);
  }
  window.WebSocket = Named;

  function inherited(object, name) {
    return object && (Object.getOwnPropertyDescriptor(object, name) ?? inherited(Object.getPrototypeOf(object), name));
  }
}

/** Ends all connections. */
export function close(fake, code, reason) {
  for (const socket of fake.open) socket.close({ code, reason });
  fake.open.clear();
}

/** What the server says to each message of the handshake, by kind of security. */
const HANDSHAKES = {
  // None (section 7.2.1): the result.
  1: [[0, 0, 0, 0], serverInit()],
  // VNC authentication (section 7.2.2): a challenge, and then the result.
  2: [new Array(16).fill(7), [0, 0, 0, 0], serverInit()],
  // RA2ne: a key of 1024 bits, modulus and exponent, that nobody knows. Nothing comes after it.
  6: [[0, 0, 4, 0, ...new Array(256).fill(0xa5)]],
};

function serve(socket, security) {
  const answers = [[1, security], ...HANDSHAKES[security]];
  let drawn = false;
  socket.onMessage((message) => {
    const answer = answers.shift();
    if (answer) return socket.send(Buffer.from(answer));
    // Of a client's messages only the wish for the picture is of interest, and only once.
    if (!drawn && message[0] === 3) {
      drawn = true;
      socket.send(picture());
    }
  });
  socket.send(Buffer.from('RFB 003.008\n'));
}

function serverInit() {
  const name = Buffer.from('fake');
  const init = Buffer.alloc(24);
  init.writeUInt16BE(WIDTH, 0);
  init.writeUInt16BE(HEIGHT, 2);
  // 32 bits per pixel, depth 24, true colour, 8 bits each, red at 16, green at 8, blue at 0.
  Buffer.from([32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0]).copy(init, 4);
  init.writeUInt32BE(name.length, 20);
  return Buffer.concat([init, name]);
}

/** One update of the whole screen, raw (sections 7.6.1 and 7.7.1). */
function picture() {
  const head = Buffer.alloc(16);
  head.writeUInt16BE(1, 2);
  head.writeUInt16BE(WIDTH, 8);
  head.writeUInt16BE(HEIGHT, 10);
  return Buffer.concat([head, Buffer.alloc(WIDTH * HEIGHT * 4, Buffer.from([0x80, 0x60, 0x30, 0]))]);
}
