/** `<clip-compare>`: clips side by side, with one transport; blind, or two over each other. */
import { compareAddress } from './address.js';
import { alsoOf } from './also.js';
import { Blind, letter } from './blind.js';
import { MOST } from './chosen.js';
import { columns } from './columns.js';
import { Controls } from './controls.js';
import { element, fill, foreign } from './dom.js';
import { shortModels } from './group.js';
import { isControl, keyName } from './keys.js';
import { Tile } from './tile.js';
import { Transport } from './transport.js';
import { spoken } from './verdict.js';
import { Wipe } from './wipe.js';
import { counted } from './words.js';

/** @typedef {import('./types.js').App} App */
/** @typedef {import('./types.js').Card} Card */
/** @typedef {import('./marks.js').Sign} Sign */

const LEAST_HEIGHT_PX = 420;
/** Below this the buttons of a caption stand under its words. */
const NARROW_PX = 700;

export class ClipCompare extends HTMLElement {
  /** @type {App} */
  app = /** @type {any} */ (null);
  /** @type {string[]} */
  ids = [];
  /** @type {Card[]} In the order of the address. */
  cards = [];
  /** @type {Tile[]} In the order shown. */
  tiles = [];
  blind = new Blind();
  transport = new Transport();
  gone = new AbortController();
  /** The bar below comes and goes. */
  sized = new ResizeObserver(() => this.#fit());
  sound = -1;
  left = 0;
  right = 1;

  connectedCallback() {
    const { gallery } = this.app;
    const found = this.ids.flatMap((id) => gallery.find(id) ?? []);
    this.cards = found.slice(0, MOST);
    this.heading = foreign('h1', '');
    this.lead = element('div', { class: 'lead' });
    this.stage = element('div', { class: 'players' });
    this.also = element('section', { class: 'also' });
    this.wipe = new Wipe(this.stage);
    this.controls = new Controls(this.transport, {
      sound: (place) => this.#hear(place),
      blind: () => this.#blind(),
      plain: () => this.#plain(),
      wipe: () => this.#wipe(!this.wipe?.on),
      sides: (left, right) => this.#sides(left, right),
    });
    const back = element('button', { type: 'button', class: 'back', on: { click: () => this.app.back() } }, '← All clips');
    fill(this, element('header', { class: 'page-head' }, back, this.heading), this.lead, this.controls.element, this.controls.waiting, this.stage, this.also);
    this.#listen();
    this.#build(this.cards);
    if (!matchMedia('(prefers-reduced-motion: reduce)').matches) void this.transport.play();
  }

  disconnectedCallback() {
    this.gone.abort();
    this.sized.disconnect();
    this.transport.end();
    for (const tile of this.tiles) tile.end();
    document.documentElement.classList.remove('blind');
  }

  #listen() {
    this.gone = new AbortController();
    const { signal } = this.gone;
    document.addEventListener('keydown', (event) => this.#key(event), { signal });
    this.app.marks.addEventListener('change', () => this.tiles.forEach((tile) => tile.showMark()), { signal });
    addEventListener('pagehide', () => this.tiles.forEach((tile) => tile.note.flush()), { signal });
    this.sized.observe(this);
    this.transport.addEventListener('change', () => this.controls?.showState(this.names), { signal });
    this.transport.addEventListener('position', () => this.controls?.showPlace(), { signal });
    // What a browser says of a player, its address among it, would tell which clip it is.
    this.stage?.addEventListener('contextmenu', (event) => this.blind.hides && event.preventDefault(), { signal });
  }

  /** Numbers, or in a blind comparison letters. */
  get names() {
    return this.tiles.map((_, place) => (this.blind.letters ? letter(place) : String(place + 1)));
  }

  get playing() {
    return this.tiles.filter((tile) => tile.problem === '');
  }

  /** New players, in this order: what was loaded or played before says nothing of the order. @param {Card[]} cards */
  #build(cards) {
    for (const tile of this.tiles) tile.end();
    this.tiles = cards.map((card) => {
      const tile = new Tile(this.app, card, {
        mark: (sign) => this.#toggle(tile, sign),
        drop: () => this.#drop(card),
        failed: () => this.#show(),
        sign: () => (this.blind.showsMark(card.id) ? this.app.marks.get(card.id).sign : ''),
      });
      return tile;
    });
    this.sound = -1;
    [this.left, this.right] = [0, 1];
    this.wipe?.end();
    fill(/** @type {Element} */ (this.stage), this.tiles.map((tile) => tile.element));
    void this.transport.take(this.tiles.map((tile) => tile.player));
    this.#show();
  }

  /** Writes everything but the players. */
  #show() {
    const model = shortModels(this.app.gallery.cards);
    const prompt = new Set(this.cards.map((card) => card.group ?? card.id)).size > 1;
    this.tiles.forEach((tile, place) => {
      const { hides, letters } = this.blind;
      tile.show({ place: this.names[place] ?? '', key: String(place + 1), hides, letters, model: model(tile.card), prompt });
    });
    document.documentElement.classList.toggle('blind', this.blind.hides);
    this.#showHead(prompt);
    this.#showAlso(model);
    this.controls?.showChoice({ names: this.names, sound: this.sound, left: this.left, right: this.right });
    this.controls?.showBlind(this.blind.stage, this.tiles.length);
    this.controls?.showWipe(Boolean(this.wipe?.on), this.playing.length);
    this.controls?.showState(this.names);
    this.#fit();
  }

  /** @param {boolean} differ Whether the prompts differ. */
  #showHead(differ) {
    const [first] = this.cards;
    const all = first && !differ ? this.app.gallery.ofPrompt(first).length : 0;
    const count = this.tiles.length;
    const of = all > count && !this.blind.hides ? ` of ${all} of this prompt` : '';
    fill(/** @type {Element} */ (this.heading), `Side by side: ${count}${of}${this.blind.hides ? ', blind' : ''}`);
    document.title = `Side by side – ${this.app.gallery.name}`;
    const lost = this.ids.length - this.cards.length - Math.max(0, this.ids.length - MOST);
    const words = differ ? (this.blind.hides ? 'Prompts differ, and are hidden as well.' : 'Of different prompts.') : '';
    fill(
      /** @type {Element} */ (this.lead),
      differ || !first ? element('p', { class: 'quiet' }, words) : foreign('p', first.prompt, { class: 'prompt' }),
      this.ids.length > MOST ? element('p', { class: 'quiet' }, `Six at once: the first six of ${this.ids.length}.`) : null,
      lost > 0 ? element('p', { class: 'quiet' }, `${counted(lost, 'clip')} of this address ${lost === 1 ? 'is' : 'are'} not in this gallery.`) : null,
    );
  }

  /** In a blind comparison the other clips would tell by what is not among them. @param {(card: Card) => string} model */
  #showAlso(model) {
    const [first] = this.cards;
    const shown = new Set(this.cards.map(({ id }) => id));
    const others = first && !this.blind.letters ? this.app.gallery.ofPrompt(first).filter(({ id }) => !shown.has(id)) : [];
    const full = this.cards.length >= MOST;
    const add = (/** @type {Card} */ card) => this.#become([...this.cards, card]);
    fill(/** @type {Element} */ (this.also), alsoOf(others, { links: this.app.links, model, full, add }));
  }

  /** @param {Card[]} cards */
  #become(cards) {
    this.app.go(compareAddress(cards.map(({ id }) => id)), true);
  }

  /** @param {Card} card */
  #drop(card) {
    if (this.cards.length < 2) return this.app.back();
    this.#become(this.cards.filter((other) => other !== card));
  }

  #blind() {
    if (this.blind.hides) {
      this.blind.reveal();
      this.#show();
    } else {
      const order = this.blind.begin(this.cards.map(({ id }) => id));
      this.#build(order.flatMap((id) => this.cards.find((card) => card.id === id) ?? []));
      this.app.say('Blind: the clips are in a new order and have letters.');
    }
  }

  #plain() {
    this.blind.end();
    this.#build(this.cards);
    this.controls?.blind.focus();
  }

  /** @param {boolean} on */
  #wipe(on) {
    const places = this.tiles.flatMap((tile, place) => (tile.problem ? [] : [place]));
    if (on && places.length < 2) return;
    if (!places.includes(this.left) || !places.includes(this.right)) [this.left = 0, this.right = 1] = places;
    const [left, right] = [this.tiles[this.left], this.tiles[this.right]];
    if (on && left && right) {
      this.wipe?.begin(left.element, right.element);
      void this.transport.take([left.player, right.player]);
      this.wipe?.focus();
    } else {
      this.wipe?.end();
      void this.transport.take(this.tiles.map((tile) => tile.player));
    }
    this.#show();
  }

  /** @param {number} left @param {number} right */
  #sides(left, right) {
    // The same on both sides shows nothing: the other side takes what was here.
    if (left === right) [left, right] = left === this.left ? [this.right, right] : [left, this.left];
    [this.left, this.right] = [left, right];
    this.#wipe(true);
  }

  /** @param {number} place */
  #hear(place) {
    this.sound = place;
    this.tiles.forEach((tile, other) => (tile.video.muted = other !== place));
  }

  /** Marks a clip, or no longer, as far as its mark is shown. @param {Tile} tile @param {Sign} sign */
  #toggle(tile, sign) {
    const { id } = tile.card;
    const before = this.blind.showsMark(id) ? this.app.marks.get(id).sign : '';
    this.#mark(tile, before === sign ? '' : sign);
  }

  /** @param {Tile} tile @param {Sign} sign */
  #mark(tile, sign) {
    const { id, ending } = tile.card;
    if (!ending) return;
    this.blind.mark(id);
    this.app.marks.set(id, sign);
    this.app.say(spoken(tile.shown ? tile.name(tile.shown) : '', sign));
    tile.showMark();
  }

  /** As large as all of them can be seen at once. */
  #fit() {
    const stage = /** @type {HTMLElement} */ (this.stage);
    const shapes = this.playing.map(({ card }) => (card.width && card.height ? card.width / card.height : 16 / 9));
    const aspect = Math.min(2.4, Math.max(0.5, ...shapes));
    const above = stage.getBoundingClientRect().top - this.getBoundingClientRect().top + this.scrollTop;
    const height = Math.max(LEAST_HEIGHT_PX, this.clientHeight - above - 16);
    const width = stage.clientWidth;
    const caption = width < NARROW_PX ? 130 : 64;
    const count = this.wipe?.on ? 1 : Math.max(1, this.playing.length);
    const fitted = columns({ count, aspect, width, height, caption });
    stage.style.setProperty('--columns', String(fitted.columns));
    stage.style.setProperty('--media', `${fitted.media}px`);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (document.querySelector('dialog[open]')) return;
    const inChoice = event.target instanceof HTMLSelectElement;
    const key = inChoice && /^[1-6,.]$/.test(event.key) && !event.ctrlKey && !event.metaKey && !event.altKey ? event.key : keyName(event);
    if (key === 'Space' && isControl(event.target)) return;
    if (!this.#act(key)) return;
    event.preventDefault();
  }

  /** @param {string} key @returns {boolean} Whether it meant something. */
  #act(key) {
    const tile = this.tiles.find(({ element }) => element.contains(document.activeElement));
    const numbered = /^[1-6]$/.test(key) ? this.tiles[Number(key) - 1] : undefined;
    if (key === 'Space') void this.transport.toggle();
    else if (key === ',') void this.transport.step(-1);
    else if (key === '.') void this.transport.step(1);
    else if (numbered) this.#toggle(numbered, 'pick');
    else if (tile && key === 'P') this.#mark(tile, 'pick');
    else if (tile && key === 'X') this.#mark(tile, 'reject');
    else if (tile && key === 'U') this.#mark(tile, '');
    else if (tile && key === 'N') tile.write();
    else return false;
    return true;
  }
}
customElements.define('clip-compare', ClipCompare);
