// A browser on a leash: `node drive.mjs <url> [chromium flag...]` opens one page and then does what it is told, one
// JSON object per line on standard input, one answer per line on standard output. The Rust test stays in charge of
// what is done, in which order, and of what is right. Chromium is $CHROMIUM, or /usr/bin/chromium.
//
// First line out:  {"ready":true}, or {"ready":false,"error":"..."} before exit code 1
// Each answer:     {"ok":true,...} or {"ok":false,"error":"..."}
// Ends, with the browser and its files gone, at `quit`, end of input, SIGTERM, SIGINT or SIGHUP.

import { mkdtempSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import * as faking from './fake.mjs';

const CANVAS = '#screen canvas';
const ACTION_MS = 30_000;
const AXE = fileURLToPath(import.meta.resolve('axe-core'));

const DESKTOP = { viewport: { width: 1280, height: 800 } };
const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 };

const [url, ...flags] = process.argv.slice(2);
const troubles = [];
let context;
let page;
let fake;
let stopping;

// Before anything is made that would have to be taken away.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(signal, () => stop(0));

// All that the browser and Playwright write goes here: profile, crash reports, caches of its desktop libraries.
const nest = mkdtempSync(join(tmpdir(), 'portcullis-browser-'));
Object.assign(process.env, {
  TMPDIR: nest,
  HOME: nest,
  XDG_CONFIG_HOME: join(nest, 'config'),
  XDG_CACHE_HOME: join(nest, 'cache'),
});

const launching = chromium.launch({
  executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
  headless: true,
  // Ours, so that every way to end is the same way.
  handleSIGINT: false,
  handleSIGTERM: false,
  handleSIGHUP: false,
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    // A proxy named in the environment must not see test traffic.
    '--no-proxy-server',
    ...flags,
  ],
});

const commands = {
  /** {state, timeout_ms} -> {state}, once body[data-state] is `state`. */
  async wait_state({ state, timeout_ms = ACTION_MS }) {
    const body = page.locator(`body[data-state=${JSON.stringify(state)}]`);
    try {
      await body.waitFor({ state: 'attached', timeout: timeout_ms });
    } catch {
      const now = await page.locator('body').getAttribute('data-state', { timeout: 1000 }).catch(() => null);
      throw new Error(`the state is ${now} and not ${state} after ${timeout_ms} ms`);
    }
    return { state };
  },

  /** {selector?} -> {width, height, rgb}: the framebuffer as the page holds it, 3 bytes per pixel in base64, rows
   *  from the top. */
  async pixels({ selector = CANVAS }) {
    return page.locator(selector).evaluate((canvas) => {
      const { width, height } = canvas;
      if (width === 0 || height === 0) return { width, height, rgb: '' };
      const rgba = canvas.getContext('2d').getImageData(0, 0, width, height).data;
      const rgb = new Uint8Array(width * height * 3);
      for (let from = 0, to = 0; from < rgba.length; from += 4) {
        rgb[to++] = rgba[from];
        rgb[to++] = rgba[from + 1];
        rgb[to++] = rgba[from + 2];
      }
      // In pieces, because a function takes a limited number of arguments. Their size is a multiple of 3, so that
      // the base64 of the pieces put together is the base64 of the whole.
      const pieces = [];
      for (let at = 0; at < rgb.length; at += 24576) {
        pieces.push(btoa(String.fromCharCode(...rgb.subarray(at, at + 24576))));
      }
      return { width, height, rgb: pieces.join('') };
    }, undefined, { timeout: ACTION_MS });
  },

  /** {selector, name} -> {value}: a property of the first such element. */
  async property({ selector, name }) {
    return { value: await page.locator(selector).first().evaluate((element, key) => element[key], name, { timeout: ACTION_MS }) };
  },

  /** {selector, tag, attributes}: puts an element into the first such one, as a script of the page does. */
  async put({ selector, tag, attributes }) {
    await page.locator(selector).first().evaluate((parent, child) => {
      const element = document.createElement(child.tag);
      for (const [name, value] of Object.entries(child.attributes)) element.setAttribute(name, value);
      parent.append(element);
    }, { tag, attributes }, { timeout: ACTION_MS });
  },

  /** {selector, timeout_ms}, once the page shows such a thing. */
  async wait_for({ selector, timeout_ms = ACTION_MS }) {
    await page.locator(selector).waitFor({ state: 'visible', timeout: timeout_ms });
  },

  /** {key, selector?}: a Playwright key such as "a", "Enter", "Control+Alt+Delete", into the screen or `selector`. */
  async press({ key, selector = CANVAS }) {
    await page.locator(selector).focus();
    await page.keyboard.press(key);
  },

  /** {text, selector?}: into the screen or `selector`. */
  async type({ text, selector = CANVAS }) {
    await page.locator(selector).focus();
    await page.keyboard.type(text);
  },

  /** {selector, x?, y?}: in its middle, or at a place in it in CSS pixels. */
  async click({ selector, x, y }) {
    await page.locator(selector).click(x === undefined ? {} : { position: { x, y } });
  },

  /** {selector} -> {name, text} of the file that a click saves. */
  async download({ selector }) {
    const [file] = await Promise.all([page.waitForEvent('download', { timeout: ACTION_MS }), page.locator(selector).click()]);
    return { name: file.suggestedFilename(), text: await readFile(await file.path(), 'utf8') };
  },

  /** {selector, files}: those, of {name, text}, are chosen where a click asks for some. */
  async choose({ selector, files }) {
    const [chooser] = await Promise.all([
      page.waitForEvent('filechooser', { timeout: ACTION_MS }),
      page.locator(selector).click(),
    ]);
    await chooser.setFiles(files.map(({ name, text }) => ({ name, mimeType: 'text/plain', buffer: Buffer.from(text) })));
  },

  /** {selector, x, y}: twice, which marks a word, at a place in it in CSS pixels. */
  async double_click({ selector, x, y }) {
    await page.locator(selector).dblclick({ position: { x, y } });
  },

  /** {selector}: with a finger, in its middle. */
  async tap({ selector }) {
    await page.locator(selector).tap();
  },

  /** {selector} -> {text} as a person sees it; "" where it is hidden. */
  async text({ selector }) {
    return { text: await page.locator(selector).innerText() };
  },

  /** -> {address, title} as the browser shows them. */
  async address() {
    return { address: page.url(), title: await page.title() };
  },

  async screenshot({ path }) {
    await page.screenshot({ path });
  },

  /** {width, height, scheme?}: scheme is "light" or "dark". */
  async viewport({ width, height, scheme }) {
    await page.setViewportSize({ width, height });
    if (scheme) await page.emulateMedia({ colorScheme: scheme });
  },

  /** -> {errors: [{kind, text}]} so far; kind is "console", "page" (uncaught) or "csp". */
  async console_errors() {
    return { errors: troubles };
  },

  /** {url, phone?, scheme?, language?}: a browser without memory, on a desk or a phone. */
  async reopen({ url: to, phone = false, scheme = 'light', language = 'en-US' }) {
    await context.close();
    fake = undefined;
    await openPage(to, { ...(phone ? PHONE : DESKTOP), colorScheme: scheme, locale: language });
  },

  /** {status, security?, silent?}: from now on gateway and machine are fakes, see fake.mjs; status null is no answer. */
  async fake({ status, security = 1, silent = false }) {
    fake ??= await faking.install(page);
    Object.assign(fake, { status, security, silent });
  },

  /** {code, reason?}: the fake gateway ends all connections. */
  async fake_close({ code, reason = '' }) {
    faking.close(fake, code, reason);
  },

  /** -> {violations: [text]} of the Web Content Accessibility Guidelines that axe-core calls serious or critical. */
  async axe() {
    // Not by a tag in the page, which its security policy would not let in.
    if (!await page.evaluate(() => 'axe' in window)) await page.evaluate(await readFile(AXE, 'utf8'));
    const { violations } = await page.evaluate(() => window.axe.run({ resultTypes: ['violations'] }));
    const grave = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
    return { violations: grave.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((node) => `${node.target} ${node.any.map((any) => any.message)}`)}`) };
  },

  /** -> {text} of this device's clipboard; {text} puts it there. */
  async clipboard({ text }) {
    await context.grantPermissions(['clipboard-read', 'clipboard-write']);
    if (text !== undefined) await page.evaluate((put) => navigator.clipboard.writeText(put), text);
    return { text: await page.evaluate(() => navigator.clipboard.readText()) };
  },

  /** {selector} -> {value} of a field. */
  async value({ selector }) {
    return { value: await page.locator(selector).inputValue() };
  },

  /** {selector, value}: writes into a field, in place of what is there. */
  async fill({ selector, value }) {
    await page.locator(selector).fill(value);
  },

  /** {selector} -> {count}: how many there are, seen or not. */
  async count({ selector }) {
    return { count: await page.locator(selector).count() };
  },

  /** {selector, to}: scrolls it to `to`, from 0, its beginning, to 1, its end. */
  async scroll({ selector, to }) {
    await page.locator(selector).evaluate((element, part) => { element.scrollTop = part * (element.scrollHeight - element.clientHeight); }, to);
  },

  /** {path, status, body}: the next request for `path` is answered so, and does not arrive. */
  async refuse({ path, status, body }) {
    await page.route((url) => url.pathname === path, (route) => route.fulfill({ status, json: body }), { times: 1 });
  },

  /** -> {addresses} of all tabs, the first one first. */
  async tabs() {
    return { addresses: context.pages().map((tab) => tab.url()) };
  },

  /** Loads the page again. */
  async reload() {
    await page.reload({ waitUntil: 'domcontentloaded' });
  },

  /** {selector, value}: chooses in a list. */
  async select({ selector, value }) {
    await page.locator(selector).selectOption(value);
  },

  /** {selector} -> {outside: [text]}: what is seen of it, and is cut off by the window or by what holds it. */
  async outside({ selector }) {
    return { outside: await page.evaluate(cutOff, selector) };
  },

  /** {selector} -> {visible}: whether it is there and takes room. */
  async visible({ selector }) {
    return { visible: await page.locator(selector).isVisible() };
  },

  /** {selector} -> {x, y, width, height} in CSS pixels of the window. */
  async box({ selector }) {
    return page.locator(selector).boundingBox();
  },

  /** -> {selector}: id of what has the focus, or its element's name. */
  async focused() {
    return { selector: await page.evaluate(() => document.activeElement.id || document.activeElement.localName) };
  },

  /** {url} -> {status}, null where only the fragment changed. */
  async goto({ url: to }) {
    const response = await page.goto(to, { waitUntil: 'domcontentloaded' });
    return { status: response?.status() ?? null };
  },
};

process.stdout.on('error', () => stop(1));
// Read from the start, so that the end of input is seen even while the browser starts or a command waits.
const lines = createInterface({ input: process.stdin });
const queue = [];
let wake = () => {};
lines.on('line', (line) => { queue.push(line); wake(); });
lines.on('close', () => stop(0));

try {
  if (!url) throw new Error('usage: drive.mjs <url> [chromium flag...]');
  await openPage(url, DESKTOP);
  say({ ready: true });
} catch (error) {
  if (!stopping) say({ ready: false, error: plain(error) });
  await stop(1);
}
for (;;) {
  while (queue.length === 0) await new Promise((resolve) => { wake = resolve; });
  await obey(queue.shift());
}

async function openPage(to, options) {
  const browser = await launching;
  browser.once('disconnected', () => stop(1));
  context = await browser.newContext(options);
  context.setDefaultTimeout(ACTION_MS);
  await context.exposeBinding('reportViolation', (_, text) => { troubles.push({ kind: 'csp', text }); });
  await context.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => {
      window.reportViolation(`${event.effectiveDirective}: ${event.blockedURI} at ${event.sourceFile}:${event.lineNumber}`);
    });
  });
  page = await context.newPage();
  page.on('console', (message) => {
    if (message.type() !== 'error') return;
    const { url: from } = message.location();
    troubles.push({ kind: 'console', text: from ? `${message.text()} (${from})` : message.text() });
  });
  page.on('pageerror', (error) => { troubles.push({ kind: 'page', text: String(error.stack ?? error) }); });
  await page.goto(to, { waitUntil: 'domcontentloaded' });
}

/** Runs in the page. */
function cutOff(selector) {
  const seen = [...document.querySelectorAll(selector)].filter((element) => element.checkVisibility({ opacityProperty: true }));
  const cut = seen.filter((element) => {
    const { left, right, top, bottom } = element.getBoundingClientRect();
    const inWindow = left >= -1 && top >= -1 && right <= innerWidth + 1 && bottom <= innerHeight + 1;
    return !inWindow || (element.localName === 'button' && element.scrollWidth > element.clientWidth + 1);
  });
  return cut.map((element) => `${element.localName}#${element.id} ${element.textContent.trim().slice(0, 40)}`);
}

async function obey(line) {
  let command;
  try {
    command = JSON.parse(line);
  } catch {
    return say({ ok: false, error: 'not a JSON object' });
  }
  // Answered when nothing is left of the browser.
  if (command.do === 'quit') return stop(0, () => say({ ok: true }));
  if (!Object.hasOwn(commands, command.do)) return say({ ok: false, error: `no such command: ${command.do}` });
  try {
    say({ ok: true, ...await commands[command.do](command) });
  } catch (error) {
    if (!stopping) say({ ok: false, error: plain(error) });
  }
}

function say(answer) {
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}

/** The first line of what Playwright says, without its colours; the rest is its own log. */
function plain(error) {
  return String(error.message ?? error).split('\n')[0].replace(/\x1b\[[0-9;]*m/g, '');
}

function stop(code, last = () => {}) {
  stopping ??= (async () => {
    const browser = await launching.catch(() => null);
    // A browser that is gone already has nothing left to close.
    await browser?.close().catch(() => {});
    // Retried, because a process of the browser may write its last file after the browser has ended.
    rmSync(nest, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
    last();
    process.exit(code);
  })();
  return stopping;
}
