// What can go wrong, and what helps: `wait`, the page tries again by itself; `again`, a person may try again with the
// same ticket; `link`, only another link helps. No words here: a message names them by section and key.

const REFUSALS = {
  bad_handshake: 'again',
  head_too_long: 'again',
  tls_required: 'link',
  no_tls: 'link',
  tls_failed: 'link',
  other_protocol: 'link',
  no_page: 'link',
  wrong_name: 'link',
  no_ticket: 'link',
  wrong_ticket: 'link',
  ticket_used: 'again',
  ticket_expired: 'link',
  wrong_source: 'again',
  wrong_origin: 'link',
  too_many: 'again',
  client_full: 'again',
  instance_full: 'again',
  full: 'wait',
  no_broker: 'link',
  slow: 'wait',
  instance_gone: 'link',
  target_refused: 'wait',
  target_not_vnc: 'again',
  target_security: 'again',
  target_password: 'again',
  target_tls: 'again',
  target_changed: 'again',
  target_not_rdp: 'again',
  target_timeout: 'wait',
  stopping: 'wait',
  unavailable: 'wait',
};

// Close codes as in RFC 6455 section 7.4.1, and the gateway's own from 4000 on.
const CLOSES = { 1000: 'wait', 1001: 'wait', 1002: 'again', 1006: 'wait', 1007: 'again', 1011: 'wait', 4000: 'again', 4001: 'link' };

// What the gateway says with 1001 where it is not going away itself: the card, and what helps.
export const REASONS = {
  'the console was closed': ['closed', 'link'],
  idle: ['idle', 'again'],
  'time is over': ['too_long', 'again'],
};

// While one of these holds, it is the machine that is waited for, and not gateway or network.
const OF_THE_MACHINE = new Set(['target_refused', 'target_timeout', '1000', '1011']);

/** A card of the page's own. */
export const ofPage = (key, help, values) => ({ section: 'cards', key, help, values });

/**
 * For `{ status, code, message, wait_ms }` of a refusal. `seen` where this page had shown the screen by the same ticket, `late`
 * where its session does not wait any longer: the port of a console that is over may not answer at all. A message with `wait_ms` is of a try
 * that is of no use again before.
 */
export function ofRefusal({ status, code, message, wait_ms = 0 }, { seen = false, late = false } = {}) {
  const said = Object.hasOwn(REFUSALS, code ?? '') ? '' : clip(message);
  const detail = [code, status && `HTTP ${status}`, said].filter(Boolean).join(', ');
  if ((seen && code === 'ticket_used') || (late && code === 'unreachable')) return { ...ofPage('too_late', 'link'), detail };
  if (code === 'unreachable') return ofPage('unreachable', 'wait');
  if (!Object.hasOwn(REFUSALS, code ?? '')) return { ...ofPage('other_refusal', 'again'), detail };
  return { section: 'refusals', key: code, help: REFUSALS[code], detail, wait_ms };
}

export function ofClose({ code, reason }) {
  const said = clip(reason);
  const detail = `close code ${code}${said ? `, ${said}` : ''}`;
  if (code === 1001 && Object.hasOwn(REASONS, said)) return { ...ofPage(...REASONS[said]), detail };
  if (!Object.hasOwn(CLOSES, code)) return { ...ofPage('other_close', 'again'), detail };
  return { section: 'closes', key: String(code), help: CLOSES[code], detail };
}

export function ofLogin(reason) {
  return { ...ofPage('login_refused', 'again'), detail: clip(reason) };
}

export const isOfMachine = ({ key }) => OF_THE_MACHINE.has(key);

/** Text from outside, short enough to be shown. Anything that is not text becomes empty. */
export function clip(text) {
  if (typeof text !== 'string') return '';
  return text.length > 300 ? `${text.slice(0, 299)}…` : text;
}
