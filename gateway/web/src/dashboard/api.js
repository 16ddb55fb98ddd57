// Calls of the API. The key goes into a header and nowhere else.

const STORED = 'portcullis-api-key';
// What a header can carry, and a key has (RFC 9110 section 5.5).
const SOUND = /^[\x21-\x7e]+$/;
const PAGE = 1000;

let key = sessionStorage.getItem(STORED) ?? '';

/** Why a call was not answered as it was meant: a code of the API, or `unreachable`. */
export class Problem extends Error {
  constructor({ code = 'unreachable', detail = '', status = 0 }) {
    super(detail);
    Object.assign(this, { code, detail, status });
  }

  /** Whether another key is needed. */
  get isOfKey() {
    return this.status === 401;
  }
}

export function hasKey() {
  return key !== '';
}

/** Kept until the tab is closed, so that a reload does not ask again. */
export function useKey(text) {
  key = text.trim();
  sessionStorage.setItem(STORED, key);
}

export function forgetKey() {
  key = '';
  sessionStorage.removeItem(STORED);
}

/** The answer as it is; throws a Problem for every other than a good one. */
export async function request(path, { method = 'GET', body, signal } = {}) {
  if (!SOUND.test(key)) throw new Problem({ code: 'wrong_key', status: 401 });
  const headers = { 'X-API-Key': key, ...body && { 'Content-Type': 'application/json' } };
  const options = { method, headers, body: body && JSON.stringify(body), signal, credentials: 'omit', cache: 'no-store' };
  const response = await fetch(path, options).catch((error) => {
    throw new Problem({ detail: error.message });
  });
  if (!response.ok) throw new Problem({ status: response.status, ...await said(response) });
  return response;
}

/** The answer's JSON; null where there is none. */
export async function call(path, options) {
  const response = await request(path, options);
  if (response.status === 204) return null;
  return response.json().catch((error) => {
    throw new Problem({ detail: error.message });
  });
}

/** One page of a list, as `{items, next}`. */
export function page(path, query, after = '') {
  const wanted = new URLSearchParams({ ...query, limit: PAGE, ...after && { after } });
  return call(`${path}?${wanted}`);
}

/** The whole list, page by page; `tell` hears how many there are so far. */
export async function all(path, query, tell = () => {}) {
  const found = [];
  let after = '';
  do {
    const { items, next } = await page(path, query, after);
    for (const item of items) found.push(item);
    after = next;
    tell(found.length);
  } while (after);
  return found;
}

/** A problem document (RFC 9457), or what came instead of one. */
async function said(response) {
  const { code, detail } = await response.json().catch(() => ({}));
  return { code: code ?? 'unknown', detail: detail ?? `HTTP ${response.status}` };
}
