// Words in the language of the moment. Which languages there are, and their words, each page teaches.

let languages = {};
let now = {};
const listeners = [];

/** `tables` are by name, such as `en`, which has to be there, and have the same keys. */
export function teach(tables) {
  languages = tables;
  now = tables.en;
}

/** The first of `wanted` (as in `navigator.languages`) that there are words for; English otherwise. */
export function choose(wanted) {
  const names = wanted.map((tag) => tag.toLowerCase().split('-')[0]);
  return names.find((name) => Object.hasOwn(languages, name)) ?? 'en';
}

/** Changes the language, and tells everybody who shows words. */
export function speak(name) {
  now = languages[name];
  document.documentElement.lang = now.tag;
  for (const listener of listeners) listener();
}

export function onSpeak(listener) {
  listeners.push(listener);
}

/** The table of the moment. */
export function table() {
  return now;
}

/** The words at `path`, such as `page.keys`, with `{name}` filled in from `values`. */
export function say(path, values = {}) {
  const [section, key] = path.split('.');
  return fill(now[section][key], values);
}

export function fill(words, values) {
  return words.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** Puts words on all that is marked: `data-word` is the text, `data-name` name and tooltip of what shows an icon. */
export function translate(root = document) {
  for (const element of root.querySelectorAll('[data-word]')) element.textContent = say(element.dataset.word);
  for (const element of root.querySelectorAll('[data-name]')) {
    element.setAttribute('aria-label', say(element.dataset.name));
    if (element.localName === 'button') element.title = say(element.dataset.name);
  }
}

/** Fills `list` with the languages; choosing one translates the page. */
export function offer(list) {
  list.append(...Object.entries(languages).map(([name, { language, tag }]) => {
    return Object.assign(new Option(language, name), { lang: tag });
  }));
  list.addEventListener('change', () => speak(list.value));
  onSpeak(() => {
    list.value = Object.keys(languages).find((name) => languages[name].tag === document.documentElement.lang);
    translate();
  });
}
