// A table of any length: only the rows that are in view are in the page.

import { onSpeak, say } from '../language.js';
import { matching, sorted } from './order.js';
import { element } from './element.js';

// Rows above and below those in view, so that scrolling finds them there.
const SPARE = 6;
// What sorting a long list may take of the time.
const SORT_FACTOR = 4;

export class Table {
  #columns;
  #action;
  #id;
  #title;
  #head;
  #body;
  #space;
  #rows = new Map();
  #items = [];
  #source = () => [];
  #sort;
  #descending;
  #query = '';
  #timer = null;
  #took = 0;

  /**
   * In `place`. `columns` are `{name, word, text, key?, title?, numeric?}`: `text` is what is read, `key` what is sorted
   * by. `action` is `{word, name, act}` for the button of each row, `sort` the name of the column to begin with.
   */
  constructor(place, { id, title, columns, action, sort, descending = false }, source) {
    [this.#id, this.#title, this.#columns, this.#action, this.#source] = [id, title, columns, action, source];
    [this.#sort, this.#descending] = [columns.find(({ name }) => name === sort), descending];
    this.#head = element('div', { role: 'row', class: 'row-line' });
    this.#space = element('div', { class: 'space', role: 'presentation' });
    this.#body = element('div', { class: 'rows', role: 'rowgroup', tabindex: 0 }, this.#space);
    this.element = element('div', { class: 'table', role: 'table' }, element('div', { class: 'head', role: 'rowgroup' }, this.#head), this.#body);
    place.append(this.element);
    this.#body.addEventListener('scroll', () => this.paint(), { passive: true });
    new ResizeObserver(() => this.paint()).observe(this.#body);
    onSpeak(() => this.#name());
  }

  /** How many rows are shown. */
  get length() {
    return this.#items.length;
  }

  /** The columns with their words, and which one sorts. */
  get sorting() {
    return { columns: this.#columns, by: this.#sort.name, descending: this.#descending };
  }

  search(query) {
    this.#query = query;
    this.#body.scrollTop = 0;
    this.#arrange();
  }

  sortBy(name, descending) {
    this.#sort = this.#columns.find((column) => column.name === name);
    this.#descending = descending;
    this.#name();
    this.#arrange();
  }

  /** The source has changed; a long one is not arranged anew for each of its changes. */
  refresh() {
    this.#timer ??= setTimeout(() => this.#arrange(), this.#took * SORT_FACTOR);
  }

  #arrange() {
    clearTimeout(this.#timer);
    this.#timer = null;
    const began = performance.now();
    const text = (item) => this.#columns.map((column) => column.text(item)).join(' ');
    const found = matching([...this.#source()], this.#query, text);
    const key = this.#sort.key ?? this.#sort.text;
    this.#items = sorted(found, key, (item) => item[this.#id], this.#descending);
    this.#took = performance.now() - began;
    this.element.setAttribute('aria-rowcount', this.#items.length + 1);
    this.paint();
    this.onArranged?.();
  }

  /** Writes what is in view; cheap, and can be repeated for times that go on. */
  paint() {
    // Not in view itself.
    if (this.#body.clientHeight === 0) return;
    const height = this.#rowHeight();
    this.#space.style.height = `${this.#items.length * height}px`;
    const first = Math.max(0, Math.floor(this.#body.scrollTop / height) - SPARE);
    const last = Math.ceil((this.#body.scrollTop + this.#body.clientHeight) / height) + SPARE;
    const shown = new Map();
    this.#items.slice(first, last).forEach((item, index) => shown.set(item[this.#id], { item, index: first + index }));
    for (const [id, row] of this.#rows) {
      if (shown.has(id)) continue;
      // Who was at it goes on from the table.
      if (row.contains(document.activeElement)) this.#body.focus({ preventScroll: true });
      row.remove();
      this.#rows.delete(id);
    }
    let place = this.#space.nextSibling;
    for (const [id, { item, index }] of shown) {
      const row = this.#row(id);
      this.#write(row, item, index, height);
      // In the order in which they are read; one that is in its place is not moved, and keeps its focus.
      if (row === place) place = place.nextSibling;
      else this.#body.insertBefore(row, place);
    }
  }

  #rowHeight() {
    return parseFloat(getComputedStyle(this.element).getPropertyValue('--row'));
  }

  #row(id) {
    let row = this.#rows.get(id);
    if (row) return row;
    row = element('div', { role: 'row', class: 'row-line' });
    for (const { name, numeric, code } of this.#columns) {
      row.append(element('span', { role: 'cell', class: `cell ${name}${numeric ? ' numeric' : ''}${code ? ' code' : ''}` }));
    }
    if (this.#action) {
      const button = element('button', { type: 'button' });
      button.addEventListener('click', () => this.#action.act(row.item, button));
      row.append(element('span', { role: 'cell', class: 'cell act' }, button));
    }
    this.#rows.set(id, row);
    return row;
  }

  #write(row, item, index, height) {
    row.item = item;
    row.style.transform = `translateY(${index * height}px)`;
    row.classList.toggle('odd', index % 2 === 1);
    row.setAttribute('aria-rowindex', index + 2);
    this.#columns.forEach(({ text, title, label }, at) => {
      const cell = row.children[at];
      const words = text(item);
      if (cell.textContent !== words) cell.textContent = words;
      const more = title?.(item) ?? words;
      if (cell.title !== more) cell.title = more;
      // Where there is no head above, a number needs a word beside it.
      const word = label ? say(label) : '';
      if ((cell.dataset.label ?? '') !== word) cell.dataset.label = word;
    });
    if (!this.#action) return;
    const button = row.lastChild.firstChild;
    const words = say(this.#action.word);
    if (button.textContent !== words) button.textContent = words;
    const name = say(this.#action.name, item);
    if (button.getAttribute('aria-label') !== name) button.setAttribute('aria-label', name);
  }

  /** Writes the head, in the language and order of now. */
  #name() {
    for (const named of [this.element, this.#body]) named.setAttribute('aria-label', say(this.#title));
    this.#head.replaceChildren(...this.#columns.map((column) => {
      const sorts = column === this.#sort;
      const button = element('button', { type: 'button' }, say(column.word));
      button.addEventListener('click', () => this.sortBy(column.name, sorts && !this.#descending));
      const order = this.#descending ? 'descending' : 'ascending';
      const place = { role: 'columnheader', class: `cell ${column.name}${column.numeric ? ' numeric' : ''}` };
      const cell = element('span', { ...place, 'aria-sort': sorts ? order : 'none' }, button);
      return cell;
    }));
    if (this.#action) {
      const name = element('span', { class: 'unseen' }, say('tables.action'));
      this.#head.append(element('span', { role: 'columnheader', class: 'cell act' }, name));
    }
    this.#rows.forEach((row) => row.remove());
    this.#rows.clear();
    this.paint();
  }
}
