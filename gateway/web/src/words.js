// What a person reads when there is no screen to look at. Each entry says what happened (title, text), what to do
// next, and whether trying again with the same ticket can help.

const ASK_FOR_A_LINK = 'Go back to where you got the link, and open the console again from there.';

const REFUSALS = {
  no_ticket: {
    title: 'This link has no ticket',
    text: 'A console link carries a ticket that lets you in. This address came without one, or the page was reloaded, which forgets the ticket.',
    next: ASK_FOR_A_LINK,
  },
  wrong_ticket: {
    title: 'This ticket is not for this console',
    text: 'The gateway does not know the ticket in this link, or it belongs to someone else.',
    next: `${ASK_FOR_A_LINK} If you copied the link, check that its end is not missing.`,
  },
  ticket_used: {
    title: 'This ticket is already in use',
    text: 'A ticket lets in one viewer, and stays with the network address that used it first.',
    next: 'If the console is open in another window or on another device, use it there. Otherwise ask for a new link.',
    retry: true,
  },
  ticket_expired: {
    title: 'This ticket has expired',
    text: 'A console link is good for a limited time.',
    next: ASK_FOR_A_LINK,
  },
  no_broker: {
    title: 'There is no console here',
    text: 'The console at this address was closed, or was never open.',
    next: ASK_FOR_A_LINK,
  },
  instance_gone: {
    title: 'The machine is not there any more',
    text: 'It was deleted, or it moved after this link was made.',
    next: 'If the machine still exists, ask for a new link.',
  },
  too_many: {
    title: 'Too many tries',
    text: 'The gateway takes a limited number of connections from one place.',
    next: 'Close other windows with this console, wait a minute, then try again.',
    retry: true,
  },
  target_refused: {
    title: 'The machine does not take connections',
    text: 'The gateway is fine, but the console of this machine refused the connection.',
    next: 'Check that the machine is switched on, then try again.',
    retry: true,
  },
  target_timeout: {
    title: 'The machine does not answer',
    text: 'The gateway is fine, but the console of this machine did not answer in time.',
    next: 'Check that the machine and its host are running, then try again.',
    retry: true,
  },
  full: {
    title: 'The gateway is full',
    text: 'It serves as many consoles as it may.',
    next: 'Wait a minute, then try again.',
    retry: true,
  },
  stopping: {
    title: 'The gateway is stopping',
    text: 'It takes no new connections, most likely because it is being updated.',
    next: 'Wait a minute, then try again. If that does not help, ask for a new link.',
    retry: true,
  },
  unreachable: {
    title: 'The gateway does not answer',
    text: 'This page could not reach the gateway that served it.',
    next: 'Check your network, then try again.',
    retry: true,
  },
};

export const DAMAGED_LINK = {
  title: 'This link is damaged',
  text: 'The ticket in it holds characters that no ticket has.',
  next: ASK_FOR_A_LINK,
};

export const PAGE_INCOMPLETE = {
  title: 'This page did not load fully',
  text: 'A part of it is missing. The gateway may have been updated while the page was opening.',
  next: ASK_FOR_A_LINK,
};

// The gateway would let the ticket in, yet the WebSocket did not open.
export const UPGRADE_LOST = {
  title: 'The connection did not come through',
  text: 'The gateway accepts this ticket, but the connection ended before the screen came.',
  next: 'Try again. If it fails each time, a proxy on your network may block WebSocket connections.',
  retry: true,
};

export const NOT_UNDERSTOOD = {
  title: 'The screen cannot be shown',
  text: 'The machine sent something that this page does not understand.',
  next: 'Try again. If it fails each time, use a native VNC viewer and tell your administrator.',
  retry: true,
};

export const NEEDS_HTTPS = {
  title: 'This console needs a secure page',
  text: 'The machine asks for encryption that a browser offers on https pages only.',
  next: 'Ask your administrator for an https link, or use a native VNC viewer.',
};

export const SLOW = 'This takes longer than usual. The machine may be busy, or its console may hang.';

export function forRefusal({ status, code, message }) {
  const known = Object.hasOwn(REFUSALS, code ?? '') ? REFUSALS[code] : undefined;
  const words = known ?? {
    title: 'The gateway did not let you in',
    text: message || 'It gave no reason.',
    next: 'Try again. If it fails each time, ask for a new link, or tell your administrator the code below.',
    retry: true,
  };
  return { ...words, detail: [code, status && `HTTP ${status}`].filter(Boolean).join(', ') };
}

export function forOtherProtocol(protocol) {
  return {
    title: 'This console is not VNC',
    text: `This page shows VNC consoles only for now, and this machine has a console of another kind: ${protocol || 'unknown'}.`,
    next: 'Use a native viewer for it.',
  };
}

export function forLogin(given) {
  const reason = clip(given);
  return {
    title: 'The machine did not accept the login',
    text: reason ? `It gave this reason: ${reason}` : 'It gave no reason.',
    next: 'Check the password, then try again.',
    retry: true,
  };
}

// Close codes as in RFC 6455 section 7.4.1; which the gateway uses for what is its own choice.
export function forClose({ code, reason: given }) {
  const reason = clip(given);
  const detail = `close code ${code}${reason ? `, ${reason}` : ''}`;
  switch (code) {
    case 1000:
      return {
        title: 'The machine closed its console',
        text: 'It may have been switched off or restarted.',
        next: 'If it is starting again, connect again in a moment.',
        retry: true,
        detail,
      };
    case 1001:
      return {
        title: 'The gateway closed the console',
        text: 'An operator closed it, or the gateway is stopping.',
        next: 'Wait a minute, then connect again. If that does not help, ask for a new link.',
        retry: true,
        detail,
      };
    case 1006:
      return {
        title: 'The connection was lost',
        text: 'The gateway or the network went away.',
        next: 'Check your network and connect again soon: the ticket stays good for a short time only.',
        retry: true,
        detail,
      };
    default:
      return {
        title: 'The console ended',
        text: reason ? `The gateway gave this reason: ${reason}` : 'The gateway ended the connection and gave no reason.',
        next: 'Connect again. If that does not help, ask for a new link.',
        retry: true,
        detail: `close code ${code}`,
      };
  }
}

/** Text from outside, short enough to be shown. Anything that is not text becomes empty. */
export function clip(text) {
  if (typeof text !== 'string') return '';
  return text.length > 300 ? `${text.slice(0, 299)}…` : text;
}
