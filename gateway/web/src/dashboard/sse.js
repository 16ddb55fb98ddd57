// Server-sent events (HTML Standard section 9.2), as much of them as the gateway writes. EventSource would do it, but
// cannot send the key.

/** A reader of pieces of text; `tell(name, data)` hears each event once it is complete. */
export function parser(tell) {
  let rest = '';
  let name = '';
  let data = [];

  function line(text) {
    if (text === '') {
      if (data.length > 0) tell(name || 'message', data.join('\n'));
      [name, data] = ['', []];
      return;
    }
    // A comment has no name in front of its colon.
    const [, field, value] = /^([^:]*):? ?(.*)$/.exec(text);
    if (field === 'event') name = value;
    if (field === 'data') data.push(value);
  }

  return (piece) => {
    const lines = (rest + piece).split('\n');
    rest = lines.pop();
    for (const text of lines) line(text.replace(/\r$/, ''));
  };
}
