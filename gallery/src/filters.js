/** `<clip-filters>`: facets with live counts. Beside the sheet, or, on a narrow window, a sheet of its own over it. */
import { element, fill, set } from './dom.js';
import { importMarks } from './marking.js';
import { facets, ordered } from './search.js';
import { counted, number, stateWord } from './words.js';

/** @typedef {import('./types.js').App} App */
/** @typedef {import('./search.js').Counts} Counts */

const FIRST_VALUES = 8;
/** @type {Record<string, string>} */
const TITLES = { __proto__: /** @type {any} */ (null), state: 'State', model: 'Model', checks: 'Checks', mark: 'Your mark', day: 'Day' };

/**
 * @typedef {object} Group One facet; lines only for values that are shown.
 * @property {HTMLFieldSetElement} field
 * @property {HTMLElement} place
 * @property {HTMLButtonElement} more
 * @property {Map<string, Line>} lines
 * @property {[string, number][]} values
 * @property {string[]} chosen
 * @property {boolean} all
 */
/** @typedef {{line: HTMLElement, box: HTMLInputElement, count: HTMLElement}} Line */

export class ClipFilters extends HTMLElement {
  /** @param {App} app @param {(facet: string, values: string[]) => void} choose */
  constructor(app, choose) {
    super();
    this.app = app;
    this.choose = choose;
    this.modelPrefix = '';
    /** @type {Map<string, Group>} */
    this.groups = new Map();
    this.body = element('div', { class: 'groups' });
    this.done = element('button', { type: 'button', class: 'first', on: { click: () => this.close() } });
    this.heading = element('h2', { id: 'filters-title', tabindex: -1 }, 'Filters');
    /** Told when the sheet of filters was opened or closed. @type {(open: boolean) => void} */
    this.toggled = () => {};
  }

  connectedCallback() {
    if (this.body.parentNode) return;
    set(this, 'role', 'region');
    set(this, 'aria-labelledby', 'filters-title');
    this.append(this.heading, this.body, element('div', { class: 'done' }, this.done));
    // A wide window has the filters beside the clips.
    globalThis.matchMedia('(min-width: 761px)').addEventListener('change', (wide) => wide.matches && this.classList.contains('open') && this.close());
    this.addEventListener('keydown', (event) => {
      if (event.key !== 'Escape' || !this.classList.contains('open')) return;
      event.stopPropagation();
      this.close();
    });
  }

  open() {
    this.classList.add('open');
    this.toggled(true);
    this.heading.focus();
  }

  close() {
    this.classList.remove('open');
    this.toggled(false);
  }

  /**
   * @param {Counts} counts
   * @param {Counts} all Without search and filters: they give the order, which does not jump.
   * @param {Map<string, string[]>} chosen
   * @param {number} shown
   */
  draw(counts, all, chosen, shown) {
    fill(this.done, `Show ${counted(shown, 'clip')}`);
    const names = facets(counts);
    for (const facet of names) this.drawGroup(facet, counts.get(facet) ?? new Map(), all.get(facet) ?? new Map(), chosen.get(facet) ?? []);
    const fields = names.map((facet) => this.group(facet).field);
    if (fields.some((field, n) => this.body.children[n] !== field) || this.body.children.length !== fields.length) fill(this.body, fields);
  }

  /** @param {string} facet @returns {Group} */
  group(facet) {
    const known = this.groups.get(facet);
    if (known) return known;
    const place = element('div');
    const more = element('button', { type: 'button', class: 'more', on: { click: () => this.unfold(facet) } });
    const title = TITLES[facet] ?? facet.replace(/^label:/, '');
    const taking =
      facet === 'mark' && element('button', { type: 'button', class: 'more', on: { click: () => importMarks(this.app) } }, 'Import marks…');
    const field = element('fieldset', { 'data-facet': facet }, element('legend', { dir: 'auto' }, title), place, more, taking);
    /** @type {Group} */
    const group = { field, place, more, lines: new Map(), values: [], chosen: [], all: false };
    this.groups.set(facet, group);
    return group;
  }

  /** @param {string} facet */
  unfold(facet) {
    const group = this.group(facet);
    group.all = !group.all;
    this.drawLines(facet, group);
    if (group.all) [...group.lines.values()][FIRST_VALUES]?.box.focus();
  }

  /**
   * @param {string} facet
   * @param {Map<string, number>} counts
   * @param {Map<string, number>} all
   * @param {string[]} chosen
   */
  drawGroup(facet, counts, all, chosen) {
    /** @type {Map<string, number>} */
    const known = new Map(facet === 'mark' ? [['pick', 0], ['reject', 0], ['unmarked', 0]] : []);
    for (const value of chosen) known.set(value, 0);
    for (const [value, count] of counts) known.set(value, count);
    const group = this.group(facet);
    group.values = ordered(facet, known, all);
    group.chosen = chosen;
    this.drawLines(facet, group);
  }

  /** Eight values, and all that are chosen; the others on demand: there may be hundreds. @param {string} facet @param {Group} group */
  drawLines(facet, group) {
    const { values, chosen, all, more } = group;
    const shown = values.filter(([value], n) => all || n < FIRST_VALUES || chosen.includes(value));
    const lines = new Map();
    for (const [value, count] of shown) {
      const line = group.lines.get(value) ?? this.line(facet, value);
      lines.set(value, line);
      line.box.checked = chosen.includes(value);
      if (line.count.textContent !== number(count)) fill(line.count, number(count));
      set(line.line, 'data-none', count === 0 || null);
    }
    const before = [...group.lines.keys()];
    group.lines = lines;
    // Only where something came or went: what is in place keeps the focus.
    if (before.length !== lines.size || [...lines.keys()].some((value, n) => value !== before[n])) {
      const focused = group.place.contains(document.activeElement) ? document.activeElement : null;
      fill(group.place, [...lines.values()].map((line) => line.line));
      if (focused instanceof HTMLElement && focused.isConnected) focused.focus();
    }
    const hidden = values.length - shown.length;
    more.hidden = values.length <= FIRST_VALUES || (hidden === 0 && !all);
    fill(more, hidden > 0 ? `${number(hidden)} more` : 'Fewer');
    set(more, 'aria-expanded', String(hidden === 0));
  }

  /** @param {string} facet @param {string} value @returns {Line} */
  line(facet, value) {
    const chosen = () => [...this.group(facet).lines].filter(([, one]) => one.box.checked).map(([name]) => name);
    const box = element('input', { type: 'checkbox', on: { change: () => this.choose(facet, chosen()) } });
    const count = element('span', { class: 'count' });
    const line = element('label', { title: value }, box, element('span', { class: 'value foreign', dir: 'auto' }, this.word(facet, value)), count);
    return { line, box, count };
  }

  /** @param {string} facet @param {string} value */
  word(facet, value) {
    if (facet === 'state') return stateWord(value);
    if (facet === 'model') return value.slice(this.modelPrefix.length);
    return value === '' ? '(empty)' : value;
  }
}
customElements.define('clip-filters', ClipFilters);
