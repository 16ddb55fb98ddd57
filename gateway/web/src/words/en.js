// English. Each language has the same keys; what stands in braces is filled in.

const ASK = 'Go back to where you got the link, and open the console again from there.';

export default {
  language: 'English',
  tag: 'en',

  page: {
    bar: 'Console',
    keys: 'Keys',
    clipboard: 'Clipboard',
    keyboard: 'Keyboard',
    settings: 'Settings',
    full_screen: 'Full screen',
    hide_bar: 'Hide the bar',
    show_bar: 'Show the bar',
    screen: 'Screen of the machine',
    typing: 'Typed text goes to the machine',
    view_only: 'View only',
    delay: '{ms} ms',
    delay_title: 'Time that a question to the gateway and its answer take',

    send: 'Send',
    hold: 'Hold for the next key',
    leave_hint: 'Press and release Ctrl, Alt and Shift together to move from the screen to this bar. Esc moves back.',

    clipboard_text: 'Text',
    clipboard_hint: 'What the machine copies appears here. Text for the machine is typed or pasted here.',
    copy: 'Copy',
    paste: 'Paste from this device',
    give: 'Put on the machine’s clipboard',
    type: 'Type it',
    paste_in: 'Paste into the terminal',
    find: 'Search',
    find_text: 'Text that the terminal has shown',
    find_previous: 'Upwards',
    find_next: 'Downwards',
    found: '{number} of {count}',
    not_found: 'Not found.',
    font: 'Size of the text',
    small: 'Small',
    middle: 'Middle',
    large: 'Large',
    files: 'Files',
    send_files: 'Offer files to the machine',
    files_hint: 'Files that are copied on the machine can be saved here. Those that are offered to it can be pasted there.',
    save: 'Save',
    type_hint: 'A machine without a clipboard can have the text typed, as on a US keyboard.',

    size: 'Size of the screen',
    fit: 'Fit to the window',
    native: 'Each pixel as it is',
    follow: 'Change the machine’s resolution',
    quality: 'Picture',
    sharp: 'Sharp',
    balanced: 'Balanced',
    fast: 'Fast',
    choose_language: 'Language',
    viewer_file: 'Open in remote-viewer',
    rdp_file: 'Open in Remote Desktop',
    licences: 'Licences',

    answer: 'Connect',
    username: 'User name',
    password: 'Password',
    domain: 'Domain, if there is one',
    target: 'Machine',

    try_again: 'Try again',
    connect_again: 'Connect again',
    try_now: 'Try now',
    stop: 'Stop trying',
    countdown: 'Next try in {seconds} s, number {attempt}. The console waits for you {left} s more.',
    trying: 'Trying now, number {attempt}.',
    held: 'You may try again in {seconds} s.',
    gave_up: 'It did not come back in time. Connect again, or ask for a new link where you got this one.',
    stopped: 'You stopped trying. The ticket stays good for a short time only.',
    slow: 'This takes longer than usual. The machine may be busy, or its console may hang.',
  },

  toasts: {
    copied_there: 'The machine copied text.',
    copied_here: 'Copied to this device.',
    copy_failed: 'The browser did not allow it. Select the text and copy it yourself.',
    paste_failed: 'The browser did not allow it. Paste into the text field instead.',
    given: 'The machine has it on its clipboard.',
    typed: 'Typed on the machine.',
    files_there: 'Files were copied on the machine. They can be saved from the clipboard’s panel.',
    files_given: 'Paste them on the machine. They are sent when it asks for them.',
    files_sent: 'The machine has the files.',
    printed: 'The machine printed a document. It can be saved from the clipboard’s panel, too.',
    file_failed: 'The file did not come through.',
    no_viewer_file: 'The gateway gave no file for a viewer.',
    keeps_size: 'This machine keeps its own resolution, so its screen is fitted to the window.',
    back: 'Connected again.',
  },

  states: {
    connecting: 'Connecting',
    waiting: 'Waiting for the machine',
    reconnecting: 'Reconnecting',
    connected: 'Connected',
    credentials: 'Waiting for you',
    ended: 'Ended',
    failed: 'Not connected',
  },

  cards: {
    asking: { title: 'Connecting', text: 'Asking the gateway.' },
    opening: { title: 'Connecting', text: 'Waiting for the screen of the machine.' },
    checking: { title: 'Connecting', text: 'Checking the login.' },
    login: {
      title: 'The machine asks for a login',
      text: 'Its console has a password of its own, which the gateway does not know.',
    },
    machine_login: {
      title: 'Log in to the machine',
      text: 'User name and password go to the machine and to nobody else, and this page does not keep them.',
    },
    unknown_key: {
      title: 'Is this the right machine?',
      text: 'Its console shows a key that this page cannot check. Compare it if you know the key of the machine.',
    },
    login_refused: {
      title: 'The machine did not accept the login',
      text: 'The user name or the password is not right.',
      next: 'Check them, then try again.',
    },
    damaged_link: {
      title: 'This link is damaged',
      text: 'The ticket in it holds characters that no ticket has.',
      next: ASK,
    },
    incomplete: {
      title: 'This page did not load fully',
      text: 'A part of it is missing. The gateway may have been updated while the page was opening.',
      next: ASK,
    },
    upgrade_lost: {
      title: 'The connection did not come through',
      text: 'The gateway accepts this ticket, but the connection ended before the screen came.',
      next: 'Try again. If it fails each time, a proxy on your network may block WebSocket connections.',
    },
    not_understood: {
      title: 'The screen cannot be shown',
      text: 'The machine sent something that this page does not understand.',
      next: 'Try again. If it fails each time, use a native viewer and tell your administrator.',
    },
    needs_https: {
      title: 'This console needs a secure page',
      text: 'The machine asks for encryption that a browser offers on https pages only.',
      next: 'Ask your administrator for an https link, or use a native VNC viewer.',
    },
    other_protocol: {
      title: 'This page cannot show this console',
      text: 'It shows screens and terminals, and this machine has a console of another kind: {protocol}.',
      next: 'Use a native viewer for it.',
    },
    too_late: {
      title: 'It is too late to come back',
      text: 'After a connection is lost, the console waits for you a short time, and only at the same network address.',
      next: ASK,
    },
    closed: {
      title: 'This console was closed',
      text: 'The service that opened it has closed it.',
      next: ASK,
    },
    idle: {
      title: 'Nobody was at the console',
      text: 'Nothing moved for as long as the gateway allows, so it ended the connection.',
      next: 'Connect again to go on.',
    },
    too_long: {
      title: 'The time at this console is over',
      text: 'The gateway keeps a connection for a limited time only.',
      next: 'Connect again, or ask for a new link.',
    },
    unreachable: {
      title: 'The gateway does not answer',
      text: 'This page cannot reach the gateway that served it.',
      next: 'Check your network.',
    },
    other_refusal: {
      title: 'The gateway did not let you in',
      text: 'It gave a reason that this page does not know.',
      next: 'Try again. If it fails each time, ask for a new link, or tell your administrator the code below.',
    },
    other_close: {
      title: 'The console ended',
      text: 'The connection was closed, and this page does not know why.',
      next: 'Connect again. If that does not help, ask for a new link.',
    },
  },

  refusals: {
    bad_handshake: {
      title: 'The connection was changed on its way',
      text: 'What arrived at the gateway was not what this page had sent.',
      next: 'A proxy on your network may not let WebSocket connections through. Try another network.',
    },
    head_too_long: {
      title: 'The request was too long',
      text: 'Your browser, or a proxy, sent more along than the gateway takes.',
      next: 'Delete the cookies of this address, then try again.',
    },
    tls_required: {
      title: 'This console needs https',
      text: 'The gateway takes encrypted connections only.',
      next: 'Open the link again with https at its beginning.',
    },
    no_tls: {
      title: 'This console is not served by https',
      text: 'The gateway does not take encrypted connections at this address.',
      next: 'Ask for a new link. If you typed https yourself, try http.',
    },
    tls_failed: {
      title: 'No secure connection came about',
      text: 'Your browser and the gateway could not agree, most often because the browser does not trust the certificate.',
      next: 'Tell your administrator.',
    },
    other_protocol: {
      title: 'This console speaks another protocol',
      text: 'A viewer for another kind of console was used.',
      next: 'Use the viewer that fits this console, or ask for a link.',
    },
    no_page: {
      title: 'There is no such page',
      text: 'The gateway has no page at this address.',
      next: ASK,
    },
    wrong_name: {
      title: 'No way leads there',
      text: 'A tunnel to something else than this console was asked for.',
      next: 'Get a new file for the viewer and open it again.',
    },
    no_ticket: {
      title: 'This link has no ticket',
      text: 'A console link carries a ticket that lets you in. This address came without one, or the page was reloaded, which forgets the ticket.',
      next: ASK,
    },
    wrong_ticket: {
      title: 'This ticket is not for this console',
      text: 'The gateway does not know the ticket in this link, or it belongs to another console.',
      next: `${ASK} If you copied the link, check that its end is not missing.`,
    },
    ticket_used: {
      title: 'This ticket was used',
      text: 'A ticket lets in one viewer, once, and stays with the network address that used it first.',
      next: 'If the console is open in another window or on another device, use it there. Otherwise ask for a new link.',
    },
    ticket_expired: {
      title: 'This ticket has expired',
      text: 'A console link is good for a limited time.',
      next: ASK,
    },
    wrong_source: {
      title: 'This console is not for your network',
      text: 'It was opened for other network addresses than the one you come from.',
      next: 'Use the network that it was opened for, such as that of your office or your VPN, then try again.',
    },
    wrong_origin: {
      title: 'Another page tried to open this console',
      text: 'The ticket in your browser is for this page only, and the request came from another one.',
      next: ASK,
    },
    too_many: {
      title: 'Too many tries',
      text: 'The gateway had too many connections without a good ticket from your network address.',
      next: 'Wait a minute, then try again.',
    },
    client_full: {
      title: 'You have too many consoles open',
      text: 'The gateway takes a limited number of consoles from one network address.',
      next: 'Close another console, then try again.',
    },
    instance_full: {
      title: 'Too many people are at this machine',
      text: 'The gateway takes a limited number of viewers of one machine.',
      next: 'Wait until somebody has left, then try again.',
    },
    full: {
      title: 'The gateway is full',
      text: 'It serves as many consoles as it may.',
      next: 'A place may be free in a moment.',
    },
    no_broker: {
      title: 'There is no console here',
      text: 'The console at this address was closed, or was never open.',
      next: ASK,
    },
    slow: {
      title: 'The request took too long',
      text: 'It did not arrive at the gateway in time.',
      next: 'Check your network.',
    },
    instance_gone: {
      title: 'The machine is not there any more',
      text: 'It was deleted, or it moved after this link was made.',
      next: 'If the machine still exists, ask for a new link.',
    },
    target_refused: {
      title: 'The machine does not take connections',
      text: 'The gateway is fine, but the console of this machine refused the connection.',
      next: 'Check that the machine is switched on.',
    },
    target_not_vnc: {
      title: 'The machine speaks another language',
      text: 'The gateway reached the machine, but what answered there is no VNC console.',
      next: 'Tell your administrator: the machine’s console may be registered with a wrong port.',
    },
    target_security: {
      title: 'The machine wants another kind of login',
      text: 'Its console offers no way to log in that the gateway knows.',
      next: 'Tell your administrator: a VNC console has to offer a password, or none, and an RDP one TLS or NLA.',
    },
    target_tls: {
      title: 'The machine’s console cannot be trusted',
      text: 'It does not show the certificate that the gateway knows, or speaks no TLS.',
      next: 'Tell your administrator: its certificate may have been renewed.',
    },
    target_changed: {
      title: 'This may be another machine',
      text: 'It shows another certificate than it did before. Somebody may stand between, or it was set up anew.',
      next: 'Tell your administrator: if the new certificate is right, the old one has to be forgotten.',
    },
    target_not_rdp: {
      title: 'The machine does not speak RDP',
      text: 'The gateway reached the machine, but what answered there is no RDP.',
      next: 'Tell your administrator: the machine may be registered with a wrong port.',
    },
    target_password: {
      title: 'The gateway has a wrong password',
      text: 'It logs in to the console of this machine for you, and the console refused its password.',
      next: 'Tell your administrator that the password of this machine’s console has to be entered anew.',
    },
    target_timeout: {
      title: 'The machine does not answer',
      text: 'The gateway is fine, but the console of this machine did not answer in time.',
      next: 'Check that the machine and its host are running.',
    },
    stopping: {
      title: 'The gateway is stopping',
      text: 'It takes no new connections, most likely because it is being updated.',
      next: 'It should be back in a moment.',
    },
    unavailable: {
      title: 'The gateway cannot look up this machine',
      text: 'The place where it keeps its records does not answer at the moment.',
      next: 'It should be back in a moment. If not, tell your administrator.',
    },
  },

  closes: {
    1000: {
      title: 'The machine closed its console',
      text: 'It may have been switched off, or it restarts.',
      next: 'Check that the machine is switched on.',
    },
    1001: {
      title: 'The gateway closed the connection',
      text: 'It stops or restarts.',
      next: 'It should be back in a moment.',
    },
    1002: {
      title: 'The connection was damaged',
      text: 'The gateway received something that breaks the rules of WebSocket.',
      next: 'Connect again. If it happens each time, a proxy on your network may be at fault.',
    },
    1006: {
      title: 'The connection was lost',
      text: 'The gateway or the network went away.',
      next: 'Check your network.',
    },
    1007: {
      title: 'The connection was damaged',
      text: 'The gateway received text that is no text.',
      next: 'Connect again. If it happens each time, a proxy on your network may be at fault.',
    },
    1011: {
      title: 'The connection to the machine broke',
      text: 'The gateway is fine, but it lost the machine.',
      next: 'Check that the machine and its host are running.',
    },
    4000: {
      title: 'The console went on somewhere else',
      text: 'A newer window took the place of this one.',
      next: 'Go on there, or connect again to take the console back.',
    },
    4001: {
      title: 'An operator ended this session',
      text: 'The ticket is good for nothing any more.',
      next: 'Ask the operator, or ask for a new link.',
    },
  },
};
