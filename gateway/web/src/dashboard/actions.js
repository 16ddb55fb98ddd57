// What an operator does: end a session, close a broker, open a console.

import { say } from '../language.js';
import * as toast from '../toast.js';
import { call } from './api.js';
import * as dialog from './dialog.js';

/** Ends it, if the operator says so once more. */
export function kill(session) {
  const { session_id: id, instance_id: instance, client } = session;
  dialog.ask({
    title: say('actions.kill_title', { instance }),
    text: say('actions.kill_text', { client }),
    label: say('actions.kill'),
    yes: () => remove(`v1/sessions/${encodeURIComponent(id)}`, say('actions.killed', { instance })),
  });
}

/** Closes it, if the operator says so once more. */
export function close(broker) {
  const { broker_id: id, instance_id: instance, sessions } = broker;
  dialog.ask({
    title: say('actions.close_title', { instance }),
    text: say(sessions > 0 ? 'actions.close_used_text' : 'actions.close_text', { sessions }),
    label: say('actions.close'),
    yes: () => remove(`v1/brokers/${encodeURIComponent(id)}`, say('actions.closed', { instance })),
  });
}

async function remove(path, done) {
  await call(path, { method: 'DELETE' }).catch((problem) => {
    // Somebody else was quicker, or it ended by itself.
    if (problem.status !== 404) throw problem;
  });
  toast.show(done);
}

/** Opens a console in a tab of its own. */
export async function open({ instance_id: instance }, button) {
  // Now, because later the browser would take it for an advertisement; without a way back to this page.
  const tab = window.open('about:blank', '_blank');
  if (tab) tab.opener = null;
  button.disabled = true;
  try {
    const broker = await call('v1/brokers', { method: 'POST', body: { instance_id: instance, reuse: true } });
    if (tab) tab.location.replace(broker.console_url);
    else dialog.offer({ title: say('actions.open_title', { instance }), text: say('actions.open_text'), label: say('actions.open_label'), url: broker.console_url });
  } catch (problem) {
    tab?.close();
    dialog.tell(say('actions.not_opened', { instance }), problem);
  }
  button.disabled = false;
}
