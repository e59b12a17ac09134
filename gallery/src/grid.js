/**
 * `<clip-grid>`: a virtual list of equal rows. Only the rows near the screen are there; those are kept, never rebuilt
 * while they stay, and the row with the focus is never removed.
 */
import { element, set } from './dom.js';
import { GAP, measure, MOST_PIXELS, target } from './rows.js';

/** @typedef {import('./types.js').Card} Card */
export class ClipGrid extends HTMLElement {
  constructor() {
    super();
    /** @type {Card[]} */
    this.cards = [];
    /** @type {(card: Card) => HTMLElement} */
    this.make = () => element('div');
    /** Told when a card is no longer on the page. @type {(cell: HTMLElement) => void} */
    this.dropped = () => {};
    /** @type {Map<number, HTMLElement>} */
    this.rows = new Map();
    /** What a cell was made from: it is used again for nothing else. @type {WeakMap<HTMLElement, Card>} */
    this.made = new WeakMap();
    /** Index of the card that has, or would get, the focus. */
    this.current = 0;
    this.size = 280;
    /** @type {import('./rows.js').Measures} */
    this.measures = measure(1000, 280, 16);
    this.list = element('div', { role: 'grid', class: 'list', 'aria-label': 'Clips', 'aria-multiselectable': 'true' });
    this.waiting = false;
  }

  connectedCallback() {
    if (this.list.parentNode) return;
    this.append(this.list);
    set(this, 'tabindex', -1);
    this.addEventListener('scroll', () => this.later(), { passive: true });
    new ResizeObserver(() => this.clientWidth > 0 && this.resize()).observe(this);
  }

  /** Cards that fit below each other; the rest would be out of reach of the scroll bar. */
  get most() {
    return Math.floor(MOST_PIXELS / this.measures.row) * this.measures.columns;
  }

  /**
   * Other cards, or the same in another order. The card with the focus keeps it where it is still there.
   * @param {Card[]} cards
   * @param {{top?: boolean, remake?: boolean}} [how] `top`: from the beginning; `remake`: all look different now.
   */
  become(cards, { top = false, remake = false } = {}) {
    const focused = this.list.contains(document.activeElement);
    const id = this.cards[this.current]?.id;
    this.cards = cards;
    this.current = Math.max(0, top && !focused ? 0 : cards.findIndex((card) => card.id === id));
    const cells = remake ? new Map() : this.cells();
    this.empty();
    if (top) this.scrollTop = 0;
    this.place();
    this.draw(cells);
    for (const cell of cells.values()) if (!cell.isConnected) this.dropped(cell);
    if (focused && cards.length > 0) this.focusCard(this.current, false);
  }

  /** A new width, or a new size of cards: the first card on the screen stays there. */
  resize() {
    const rem = Number.parseFloat(getComputedStyle(document.documentElement).fontSize) || 16;
    const style = getComputedStyle(this);
    const inner = this.clientWidth - Number.parseFloat(style.paddingLeft) - Number.parseFloat(style.paddingRight);
    const measures = measure(inner, this.size, rem);
    const before = this.measures;
    // Only the height of the window: what is there stays in its place, with the focus.
    if (before.width === measures.width && before.row === measures.row && this.rows.size > 0) return this.draw();
    const first = Math.round(this.scrollTop / before.row) * before.columns;
    const part = before.columns === measures.columns ? this.scrollTop % before.row : 0;
    const focused = this.list.contains(document.activeElement);
    const cells = this.cells();
    this.empty();
    this.measures = measures;
    this.place();
    if (before.columns !== measures.columns || before.row !== measures.row) {
      this.scrollTop = Math.floor(first / measures.columns) * measures.row + part;
    }
    this.draw(cells);
    if (focused) this.cellAt(this.current)?.focus({ preventScroll: true });
  }

  place() {
    const { columns, row, height } = this.measures;
    const shown = Math.min(this.cards.length, this.most);
    this.list.style.height = `${Math.ceil(shown / columns) * row}px`;
    this.list.style.setProperty('--columns', String(columns));
    this.list.style.setProperty('--height', `${height}px`);
    set(this.list, 'aria-rowcount', Math.ceil(shown / columns));
    set(this.list, 'aria-colcount', columns);
  }

  later() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.draw();
    });
  }

  /** Makes the rows near the screen, and takes away the others. @param {Map<string, HTMLElement>} [cells] Cards to use again. */
  draw(cells = new Map()) {
    const { columns, row } = this.measures;
    const end = Math.ceil(Math.min(this.cards.length, this.most) / columns);
    const [above, below] = [this.scrollTop - 0.75 * this.clientHeight, this.scrollTop + 1.75 * this.clientHeight];
    const wanted = new Set([Math.floor(this.current / columns)]);
    for (let n = Math.max(0, Math.floor(above / row)); n < end && n * row < below; n += 1) wanted.add(n);
    for (const [n, made] of this.rows) {
      if (wanted.has(n)) continue;
      for (const cell of made.children) this.dropped(/** @type {HTMLElement} */ (cell));
      made.remove();
      this.rows.delete(n);
    }
    for (const n of [...wanted].sort((one, other) => one - other)) {
      if (n >= end || this.rows.has(n)) continue;
      this.insert(n, this.makeRow(n, cells));
    }
  }

  /** @param {number} n @param {Map<string, HTMLElement>} cells */
  makeRow(n, cells) {
    const { columns, row } = this.measures;
    const made = element('div', { role: 'row', class: 'row', 'aria-rowindex': n + 1 });
    made.style.transform = `translateY(${n * row}px)`;
    for (const [column, card] of this.cards.slice(n * columns, (n + 1) * columns).entries()) {
      const before = cells.get(card.id);
      const cell = before && this.made.get(before) === card ? before : this.make(card);
      this.made.set(cell, card);
      set(cell, 'aria-colindex', column + 1);
      set(cell, 'tabindex', n * columns + column === this.current ? 0 : -1);
      made.append(cell);
    }
    return made;
  }

  /** In the order of their numbers, so that it is read in order. @param {number} n @param {HTMLElement} made */
  insert(n, made) {
    const next = [...this.rows.keys()].filter((other) => other > n).sort((one, other) => one - other)[0];
    this.list.insertBefore(made, next === undefined ? null : (this.rows.get(next) ?? null));
    this.rows.set(n, made);
  }

  empty() {
    for (const made of this.rows.values()) made.remove();
    this.rows.clear();
  }

  /** The cards that are on the page. @returns {Map<string, HTMLElement>} */
  cells() {
    const all = [...this.rows.values()].flatMap((made) => [...made.children]);
    return new Map(all.map((cell) => [/** @type {HTMLElement} */ (cell).dataset['id'] ?? '', /** @type {HTMLElement} */ (cell)]));
  }

  /** @param {number} index @returns {HTMLElement|null} */
  cellAt(index) {
    const { columns } = this.measures;
    return /** @type {HTMLElement|null} */ (this.rows.get(Math.floor(index / columns))?.children[index % columns] ?? null);
  }

  /** Moves the focus to a card, and brings it onto the screen. @param {number} index @param {boolean} [scrolls] */
  focusCard(index, scrolls = true) {
    if (this.cards.length === 0) return;
    const last = Math.min(this.cards.length, this.most) - 1;
    this.makeCurrent(Math.min(last, Math.max(0, index)));
    if (scrolls) this.reveal();
    this.draw();
    this.cellAt(this.current)?.focus({ preventScroll: true });
  }

  /** The card that Tab leads to. @param {number} index */
  makeCurrent(index) {
    const before = this.cellAt(this.current);
    if (before) set(before, 'tabindex', -1);
    this.current = index;
    const now = this.cellAt(index);
    if (now) set(now, 'tabindex', 0);
  }

  reveal() {
    const { columns, row, height } = this.measures;
    const top = Math.floor(this.current / columns) * row;
    const screen = this.clientHeight - GAP * 2;
    if (top < this.scrollTop) this.scrollTop = top;
    else if (top + height > this.scrollTop + screen) this.scrollTop = top + height - screen;
  }

  /** Where a key leads from the current card; null if it does not move. @param {string} key */
  target(key) {
    const { columns, row } = this.measures;
    const rows = Math.max(1, Math.floor(this.clientHeight / row));
    return target(key, { current: this.current, count: Math.min(this.cards.length, this.most), columns, rows });
  }
}
customElements.define('clip-grid', ClipGrid);
