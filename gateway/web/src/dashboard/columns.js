// What the tables show of brokers, sessions and instances.

import { say, table } from '../language.js';
import { bytes, duration, moment } from './format.js';
import { natural } from './order.js';

const time = (text) => Date.parse(text);

/** Sorts as people expect, by the field `name`. */
const byField = (name, word, more = {}) => ({
  name, word, text: (item) => String(item[name] ?? ''), key: (item) => natural(item[name] ?? ''), ...more,
});
const amount = (name, word, label) => ({
  name, word, label, numeric: true, text: (item) => bytes(item[name]), key: (item) => item[name], title: (item) => say('units.byte', { count: item[name] }),
});
/** `clock` says what time it is at the gateway. */
const since = (name, word, clock) => ({
  name, word, text: (item) => duration(clock() - time(item[name])), key: (item) => -time(item[name]), title: (item) => moment(item[name]),
});

const instance = byField('instance_id', 'columns.instance');
const protocol = byField('graphics_protocol', 'columns.protocol');
const client = byField('client', 'columns.client', { code: true });
const up = amount('up_bytes', 'columns.up', 'columns.up');
const down = amount('down_bytes', 'columns.down', 'columns.down');
const session = byField('session_id', 'columns.session', { code: true });

export const brokers = (clock) => [
  instance,
  {
    name: 'endpoint',
    word: 'columns.endpoint',
    code: true,
    text: endpoint,
    key: (item) => natural(endpoint(item)),
  },
  protocol,
  { name: 'sessions', word: 'columns.sessions', label: 'columns.sessions', numeric: true, text: ({ sessions }) => String(sessions), key: ({ sessions }) => sessions },
  {
    name: 'admits',
    word: 'columns.admits',
    text: ({ client: from, tickets }) => say(`tickets.${tickets}`) + (from ? `, ${from}` : ''),
  },
  {
    name: 'expires_at',
    word: 'columns.expires',
    // One that is used does not expire before its sessions are over.
    text: ({ sessions, expires_at: at }) => (sessions > 0 ? say('tables.in_use') : duration(time(at) - clock())),
    key: ({ sessions, expires_at: at }) => (sessions > 0 ? Infinity : time(at)),
    title: ({ expires_at: at }) => moment(at),
  },
  byField('broker_id', 'columns.broker', { code: true }),
];

export const sessions = (clock) => [instance, client, protocol, since('started_at', 'columns.lasts', clock), up, down, session];

export const past = () => [
  instance,
  client,
  {
    name: 'ended_at', word: 'columns.ended', text: ({ ended_at: at }) => moment(at), key: ({ ended_at: at }) => time(at),
  },
  {
    name: 'lasted',
    word: 'columns.lasted',
    text: (item) => duration(time(item.ended_at) - time(item.started_at)),
    key: (item) => time(item.ended_at) - time(item.started_at),
  },
  up,
  down,
  { name: 'end_reason', word: 'columns.end', text: ({ end_reason: end }) => endWords(end), title: ({ end_reason: end }) => end ?? '' },
  session,
];

export const instances = () => [
  instance,
  byField('hypervisor', 'columns.hypervisor'),
  { name: 'console', word: 'columns.console', code: true, text: consoleAt, key: (item) => natural(consoleAt(item)) },
  protocol,
];

/** How a session ended, or why a broker was closed, in words where there are some. */
export function endWords(end = '') {
  const { ends, reasons } = table();
  const key = end.replaceAll(' ', '_');
  const words = [ends, reasons].find((known) => Object.hasOwn(known, key));
  return words?.[key] ?? end;
}

function endpoint({ broker_ip: ip, broker_port: port }) {
  return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`;
}

function consoleAt({ host, graphics_port: port }) {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
