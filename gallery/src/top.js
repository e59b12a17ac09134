/** `<clip-top>`: the gallery's name, search, how many, order, size, light or dark, keys; and what has to be said. */
import { element, fill, set } from './dom.js';
import { showKeys } from './keys.js';
import { counted, number } from './words.js';

/** @typedef {import('./types.js').App} App */
/** @typedef {import('./types.js').Place} Place */

/** @type {[string, string][]} */
const SORTS = [
  ['newest', 'Newest first'],
  ['oldest', 'Oldest first'],
  ['prompt', 'By prompt'],
  ['row', 'By row'],
  ['dearest', 'Dearest first'],
];
const dark = globalThis.matchMedia('(prefers-color-scheme: dark)');

export class ClipTop extends HTMLElement {
  /** @param {App} app @param {import('./sheet.js').ClipSheet} sheet */
  constructor(app, sheet) {
    super();
    this.app = app;
    this.sheet = sheet;
    const button = (/** @type {string} */ name, /** @type {() => void} */ click, /** @type {string} */ text, /** @type {string} */ kind = '') =>
      element('button', { type: 'button', class: kind, 'aria-label': name === text ? null : name, title: name === text ? null : name, on: { click } }, text);
    this.search = element('input', {
      type: 'search',
      class: 'search',
      placeholder: 'Search prompts',
      'aria-label': 'Search prompts, rows, models, labels',
      title: 'All words; "a phrase"; -without',
      spellcheck: 'false',
      autocomplete: 'off',
      enterkeyhint: 'search',
      on: { input: () => this.refine({ query: this.search.value }), keydown: (/** @type {KeyboardEvent} */ event) => this.searchKey(event) },
    });
    this.count = element('span', { class: 'count', role: 'status' });
    this.clear = button('Clear', () => {
      sheet.clear();
      this.search.focus();
    }, 'Clear', 'clear');
    this.narrow = button('Filters', () => sheet.filters.open(), 'Filters', 'narrow');
    this.news = button('', () => this.showNews(), '', 'news first');
    this.sort = element('select', { 'aria-label': 'Order', on: { change: () => this.refine({ sort: this.sort.value }) } }, SORTS.map(([value, text]) => element('option', { value }, text)));
    this.size = element('input', { type: 'range', class: 'size', min: 150, max: 560, step: 10, 'aria-label': 'Size of the cards', title: 'Size of the cards', on: { input: () => this.resize() } });
    this.fit = button('', () => this.refit(), '', 'fit');
    this.theme = button('Light or dark', () => this.light(), '◐', 'sign');
    this.keys = button('Keys', showKeys, '?', 'sign');
    this.name = element('h1', { class: 'name', dir: 'auto', title: app.gallery.name }, app.gallery.name);
    this.refined = element('div', { class: 'refined' }, this.sort, this.size, this.fit);
  }

  connectedCallback() {
    if (this.name.parentNode) return;
    set(this, 'role', 'banner');
    const { app } = this;
    this.append(this.name, this.search, this.count, this.clear, this.news, this.narrow, this.refined, this.theme, this.keys);
    this.size.value = String(app.settings.values.size);
    this.drawSettings();
    this.drawNews();
    this.sheet.addEventListener('shown', () => this.draw());
    app.gallery.addEventListener('news', () => this.drawNews());
  }

  /** @param {boolean} isSheet */
  show(isSheet) {
    for (const part of [this.search, this.count, this.clear, this.narrow, this.refined]) part.classList.toggle('away', !isSheet);
    set(this.name, 'role', isSheet ? null : 'presentation');
    if (isSheet) this.draw();
  }

  draw() {
    const place = this.sheet.place;
    if (!place) return;
    if (document.activeElement !== this.search || this.search.value.trim() !== place.query.trim()) this.search.value = place.query;
    this.sort.value = place.sort;
    const [shown, all] = [this.sheet.grid.cards.length, this.app.gallery.count];
    fill(this.count, `${number(shown)} of ${number(all)}`);
    this.clear.hidden = !place.query && place.filters.size === 0;
    const narrowed = [...place.filters.values()].flat().length;
    fill(this.narrow, narrowed > 0 ? `Filters: ${narrowed}` : 'Filters');
  }

  /** @param {Partial<Place>} change */
  refine(change) {
    if (this.sheet.place) this.sheet.refine({ ...this.sheet.place, ...change });
  }

  /** @param {KeyboardEvent} event */
  searchKey(event) {
    if (event.isComposing) return;
    if (event.key === 'Escape' && this.search.value) {
      event.preventDefault();
      this.refine({ query: '' });
    } else if (event.key === 'Enter' || event.key === 'ArrowDown' || event.key === 'Escape') {
      event.preventDefault();
      this.sheet.grid.focusCard(this.sheet.grid.current);
    }
  }

  resize() {
    this.app.settings.set({ size: Number(this.size.value) });
    this.sheet.grid.size = Number(this.size.value);
    this.sheet.grid.resize();
  }

  refit() {
    this.app.settings.set({ fit: this.app.settings.values.fit === 'fit' ? 'fill' : 'fit' });
    this.drawSettings();
  }

  light() {
    const { theme } = this.app.settings.values;
    const isDark = theme === 'auto' ? dark.matches : theme === 'dark';
    // Back to what the system says where that is the other one: the page then follows it again.
    this.app.settings.set({ theme: dark.matches === !isDark ? 'auto' : isDark ? 'light' : 'dark' });
    this.drawSettings();
  }

  drawSettings() {
    const { theme, fit } = this.app.settings.values;
    set(document.documentElement, 'data-theme', theme === 'auto' ? null : theme);
    set(document.documentElement, 'data-fit', fit);
    fill(this.fit, fit === 'fit' ? 'Fill' : 'Fit');
    set(this.fit, 'title', fit === 'fit' ? 'Fill the cards: pictures are cropped' : 'Show the pictures whole');
  }

  drawNews() {
    const { clips, any } = this.app.gallery.news;
    this.news.hidden = !any;
    const text = clips > 0 ? `${number(clips)} new ${clips === 1 ? 'clip' : 'clips'}` : 'Something changed';
    fill(this.news, text);
    set(this.news, 'aria-label', `${text}: show`);
    set(this.news, 'title', 'Show what is new');
    if (any) this.app.say(clips > 0 ? `${counted(clips, 'new clip')} can be shown.` : 'States have changed.');
  }

  showNews() {
    if (this.app.gallery.showNews()) location.reload();
    else this.sheet.newest();
  }
}
customElements.define('clip-top', ClipTop);
