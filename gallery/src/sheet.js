/** `<clip-sheet>`: all clips, filters beside them. What is shown follows from the address, the data and the marks. */
import { clipAddress } from './address.js';
import { makeCard, paint } from './card.js';
import { element, fill } from './dom.js';
import { ClipFilters } from './filters.js';
import { ClipGrid } from './grid.js';
import { keyName } from './keys.js';
import { askNote, choose, compare, mark } from './marking.js';
import { Player } from './player.js';
import { filter, Table } from './search.js';
import { commonPrefix, number } from './words.js';

/** @typedef {import('./types.js').App} App */
/** @typedef {import('./types.js').Card} Card */
/** @typedef {import('./types.js').Place} Place */

const HOVER_MS = 110;
const calm = globalThis.matchMedia('(prefers-reduced-motion: reduce)');

/** `shown` is told after each change of what is shown. */
export class ClipSheet extends HTMLElement {
  /** @param {App} app @param {(place: Place) => void} refine Shows the sheet with another search, filters or order. */
  constructor(app, refine) {
    super();
    this.app = app;
    this.refine = refine;
    /** @type {Place|null} */
    this.place = null;
    this.table = new Table([], () => false);
    this.modelPrefix = '';
    this.ended = false;
    this.scrolled = 0;
    /** @type {import('./search.js').Counts} */
    this.all = new Map();
    this.player = new Player(app);
    this.filters = new ClipFilters(app, (facet, values) => this.narrow(facet, values));
    this.grid = new ClipGrid();
    this.none = element('div', { class: 'none' });
    this.hear();
  }

  connectedCallback() {
    if (this.grid.parentNode) return;
    this.append(this.filters, element('div', { class: 'clips' }, this.grid, this.none));
  }

  hear() {
    const { app, grid } = this;
    grid.size = app.settings.values.size;
    grid.make = (card) => makeCard(app, card, this.modelPrefix);
    grid.dropped = (cell) => this.player.cell === cell && this.player.stop();
    grid.addEventListener('keydown', (event) => this.key(event));
    grid.addEventListener('click', (event) => this.clicked(event));
    // Shift would mark text up to here.
    grid.addEventListener('mousedown', (event) => event.shiftKey && event.preventDefault());
    grid.addEventListener('focusin', (event) => this.focused(event));
    grid.addEventListener('pointerover', (event) => this.hover(event));
    grid.addEventListener('pointerleave', () => this.player.stop());
    app.gallery.addEventListener('cards', () => this.readCards());
    app.marks.addEventListener('change', (event) => {
      const id = /** @type {CustomEvent<string|null>} */ (event).detail;
      this.repaint(id === null ? null : [id]);
      this.count();
    });
    app.chosen.addEventListener('change', (event) => this.repaint(/** @type {CustomEvent<string[]>} */ (event).detail));
  }

  readCards() {
    const { gallery } = this.app;
    this.table = new Table(gallery.cards, (id) => gallery.failedChecks(id).length > 0);
    const prefix = commonPrefix(gallery.cards.flatMap((card) => card.model ?? []));
    const remake = prefix !== this.modelPrefix || this.ended !== gallery.links.ended();
    this.modelPrefix = this.filters.modelPrefix = prefix;
    this.ended = gallery.links.ended();
    this.all = filter(this.table, {}, (id) => this.app.marks.get(id)).counts;
    this.draw({ remake });
    this.repaint(null);
  }

  /** What is shown, in its order; all clips, if nothing was shown yet. */
  get ids() {
    const cards = this.place ? this.grid.cards : this.app.gallery.cards;
    return cards.map(({ id }) => id);
  }

  /** @param {Place} place @param {string} [left] The clip whose page was left: it has the focus. */
  show(place, left) {
    const again = this.hidden;
    const same = this.place !== null && JSON.stringify(key(place)) === JSON.stringify(key(this.place));
    this.place = place;
    this.hidden = false;
    if (!same) this.draw({ top: this.grid.cards.length > 0 });
    if (again) {
      this.grid.resize();
      this.grid.scrollTop = this.scrolled;
      this.grid.draw();
      const moved = this.grid.cards.findIndex(({ id }) => id === left);
      this.grid.focusCard(moved < 0 ? this.grid.current : moved, moved >= 0 && moved !== this.grid.current);
    }
  }

  hide() {
    if (!this.hidden) this.scrolled = this.grid.scrollTop;
    this.player.stop();
    this.hidden = true;
  }

  /** @param {{top?: boolean, remake?: boolean}} how */
  draw(how) {
    if (!this.place) return;
    const { cards, counts } = filter(this.table, this.place, (id) => this.app.marks.get(id));
    this.grid.become(cards, how);
    this.filters.draw(counts, this.all, this.place.filters, cards.length);
    this.say();
    this.dispatchEvent(new Event('shown'));
  }

  /** Marks have changed: the counts follow at once, the list at the next filter, so that no card goes from under the hand. */
  count() {
    if (!this.place) return;
    const { counts } = filter(this.table, this.place, (id) => this.app.marks.get(id));
    this.filters.draw(counts, this.all, this.place.filters, this.grid.cards.length);
  }

  say() {
    const { cards, most } = this.grid;
    const { gallery } = this.app;
    const refined = this.place && (this.place.query || this.place.filters.size > 0);
    const empty = !gallery.complete
      ? []
      : refined
        ? ['Nothing fits this search and these filters.', element('button', { type: 'button', on: { click: () => this.clear() } }, 'Show all')]
        : ['There are no clips yet. They come here as they are stored.'];
    this.none.classList.toggle('cut', cards.length > most);
    fill(this.none, cards.length === 0 ? empty : cards.length > most ? `Only the first ${number(most)} can be shown: search, or filter.` : null);
  }

  /** From the beginning, where new clips are. */
  newest() {
    this.grid.scrollTop = 0;
    this.grid.focusCard(0);
  }

  clear() {
    if (this.place) this.refine({ ...this.place, query: '', filters: new Map() });
  }

  /** @param {string} facet @param {string[]} values */
  narrow(facet, values) {
    if (!this.place) return;
    const filters = new Map(this.place.filters);
    if (values.length > 0) filters.set(facet, values);
    else filters.delete(facet);
    this.refine({ ...this.place, filters });
  }

  /** @param {string[]|null} ids Null: all that are there. */
  repaint(ids) {
    const cells = this.grid.cells();
    for (const id of ids ?? cells.keys()) {
      const [cell, card] = [cells.get(id), this.app.gallery.find(id)];
      if (cell && card) paint(this.app, card, cell);
    }
  }

  /** @param {Event} event @returns {{cell: HTMLElement, card: Card, index: number}|null} */
  at(event) {
    const cell = event.target instanceof Element ? event.target.closest('.card') : null;
    if (!(cell instanceof HTMLElement)) return null;
    const index = this.grid.cards.findIndex((card) => card.id === cell.dataset['id']);
    const card = this.grid.cards[index];
    return card ? { cell, card, index } : null;
  }

  /** @param {Event} event */
  focused(event) {
    const at = this.at(event);
    if (!at) return;
    if (at.index !== this.grid.current) this.grid.makeCurrent(at.index);
    if (this.player.cell !== at.cell) this.player.stop();
  }

  /** @param {PointerEvent} event */
  hover(event) {
    if (event.pointerType !== 'mouse' || calm.matches) return;
    const at = this.at(event);
    if (at?.card.ending) this.player.soon(at.cell, at.card, HOVER_MS);
    else this.player.stop();
  }

  /** @param {MouseEvent} event */
  clicked(event) {
    const at = this.at(event);
    if (!at || event.button !== 0 || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.grid.makeCurrent(at.index);
    const touched = /** @type {PointerEvent} */ (event).pointerType === 'touch';
    const onPoster = event.target instanceof Element && event.target.closest('.poster') !== null;
    if (event.shiftKey) {
      choose(this.app, at.card);
      at.cell.focus({ preventScroll: true });
    } else if (touched && onPoster && at.card.ending) this.playOrStop(at.cell, at.card);
    else this.app.go(clipAddress(at.card.id));
  }

  /** @param {HTMLElement} cell @param {Card} card */
  playOrStop(cell, card) {
    if (this.player.cell === cell) this.player.stop();
    else this.player.play(cell, card);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const at = this.at(event);
    const key = keyName(event);
    if (!key) return;
    // From the list itself a key leads to a card; letters mean nothing before one has the focus.
    const to = this.grid.target(key);
    const act = to !== null ? () => this.grid.focusCard(to) : at ? this.actions(at)[key] : undefined;
    if (!act) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  }

  /** @param {{cell: HTMLElement, card: Card, index: number}} at @returns {Record<string, (() => void)|undefined>} */
  actions({ cell, card, index }) {
    const { app } = this;
    const marked = (/** @type {import('./marks.js').Sign} */ sign, on = false) => () => {
      mark(app, card, sign);
      if (on) this.grid.focusCard(index + 1);
    };
    return {
      Enter: () => app.go(clipAddress(card.id)),
      Space: () => card.ending && this.playOrStop(cell, card),
      P: marked('pick'),
      X: marked('reject'),
      U: marked(''),
      'Shift+P': marked('pick', true),
      'Shift+X': marked('reject', true),
      N: () => askNote(app, card),
      C: () => choose(app, card),
      'Shift+C': () => compare(app, card),
    };
  }
}
customElements.define('clip-sheet', ClipSheet);

/** @param {Place} place */
const key = (place) => [place.query, [...place.filters], place.sort];
