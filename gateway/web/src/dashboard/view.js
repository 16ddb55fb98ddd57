// One list as a person works with it: a table, a field to search in, and words where there is nothing to see.

import { onSpeak, say } from '../language.js';
import { byId, element } from './element.js';
import { words } from './problem.js';
import { Table } from './table.js';

export class View {
  #list;
  #table;
  #count;
  #sort;
  #empty;
  #older;
  #name;

  /** In the element `name`-view; `options` as for a Table. */
  constructor(name, list, options) {
    [this.#name, this.#list] = [name, list];
    this.#count = element('span', { class: 'count', role: 'status' });
    this.#sort = element('select', { class: 'narrow-sort', 'data-name': 'tables.sort' });
    const search = element('input', { type: 'search', autocomplete: 'off', spellcheck: 'false', 'data-hint': `search.${name}`, id: `${name}-search` });
    const place = byId(`${name}-view`);
    place.prepend(element('h1', { class: 'unseen', 'data-word': `tables.${name}` }));
    const tools = element('div', { class: 'tools' }, search, this.#sort, this.#count);
    tools.prepend(...place.querySelectorAll('.segments'));
    place.append(tools);
    this.#empty = element('p', { class: 'empty quiet', hidden: '' });
    this.#table = new Table(place, { ...options, title: `tables.${name}` }, () => list.items.values());
    this.#table.element.classList.add(name);
    this.#older = element('button', { type: 'button', class: 'older', hidden: '', 'data-word': 'tables.older' });
    place.append(this.#empty, this.#older);

    this.#table.onArranged = () => this.#write();
    search.addEventListener('input', () => this.#table.search(search.value));
    this.#sort.addEventListener('change', () => {
      const [column, order] = this.#sort.value.split(' ');
      this.#table.sortBy(column, order === 'down');
    });
    this.#older.addEventListener('click', () => this.#readOlder());
    onSpeak(() => {
      const hint = say(`search.${name}`);
      search.placeholder = hint;
      search.setAttribute('aria-label', hint);
      this.#write();
    });
  }

  /** The list has changed. */
  refresh() {
    this.#table.refresh();
  }

  /** It has come into view, or time went by. */
  paint() {
    this.#table.paint();
  }

  #write() {
    const { state, count, items, problem, next } = this.#list;
    const shown = this.#table.length;
    const counted = { shown, all: items.size };
    this.#count.textContent = state === 'ready' ? say(shown === items.size ? 'tables.count' : 'tables.count_of', counted) : '';
    this.#empty.hidden = shown > 0 && state === 'ready';
    this.#empty.textContent = {
      unread: '',
      reading: say('tables.reading', { count }),
      failed: problem && words(problem),
      ready: say(items.size > 0 ? 'tables.no_match' : `empty.${this.#name}`),
    }[state];
    this.#older.hidden = !next;
    this.#writeSorting();
  }

  /** For windows that are too narrow for a head above the columns. */
  #writeSorting() {
    const { columns, by, descending } = this.#table.sorting;
    this.#sort.replaceChildren(...columns.flatMap(({ name, word }) => [
      new Option(`${say(word)} ↑`, `${name} up`),
      new Option(`${say(word)} ↓`, `${name} down`),
    ]));
    this.#sort.value = `${by} ${descending ? 'down' : 'up'}`;
  }

  async #readOlder() {
    this.#older.disabled = true;
    // What is missing stays to be asked for.
    await this.#list.readOlder().catch((problem) => { this.#count.textContent = words(problem); });
    this.#older.disabled = false;
    this.#table.refresh();
  }
}
