/** `<clip-page>`: one clip, what is known of it, and how it came to be. */
import { clipAddress, compareAddress } from './address.js';
import { element, fill, foreign, set } from './dom.js';
import { clipFacts, dagsterFacts, inputs, requestFacts, storedFacts } from './facts.js';
import { clipName, fileName, spread } from './group.js';
import { isControl, keyName } from './keys.js';
import { runLink } from './links.js';
import { choose, compare, mark } from './marking.js';
import { frame } from './pace.js';
import { playerOf } from './stage.js';
import { history, timeline } from './timeline.js';
import { markButtons, noteField } from './verdict.js';

/** @typedef {import('./types.js').App} App */
/** @typedef {import('./types.js').Card} Card */
/** @typedef {import('./types.js').Details} Details */
/** @typedef {import('./marks.js').Sign} Sign */

const FALLBACK_FPS = 24;

export class ClipPage extends HTMLElement {
  /** Whether the clip that was left was playing: then the next one plays. */
  static playing = false;

  /** @type {App} */
  app = /** @type {any} */ (null);
  /** @type {string[]} */
  ids = [];
  /** @type {Card|null} */
  card = null;
  /** @type {HTMLVideoElement|null} */
  video = null;
  /** @type {ReturnType<typeof markButtons>|null} */
  buttons = null;
  /** @type {ReturnType<typeof noteField>|null} */
  note = null;
  gone = new AbortController();

  connectedCallback() {
    this.gone = new AbortController();
    this.card = this.app.gallery.find(this.ids[0] ?? '');
    if (!this.card) {
      fill(this, this.#head('There is no such clip in this gallery.'));
      return;
    }
    this.#draw(this.card);
    const { signal } = this.gone;
    document.addEventListener('keydown', (event) => this.#key(event), { signal });
    this.app.marks.addEventListener('change', () => this.#showMark(), { signal });
    addEventListener('pagehide', () => this.note?.flush(), { signal });
    void this.#readDetails(this.card);
  }

  disconnectedCallback() {
    this.gone.abort();
    this.note?.flush();
    if (!this.video) return;
    // Without its source no download goes on.
    this.video.pause();
    this.video.removeAttribute('src');
    this.video.load();
  }

  /** @param {string} title */
  #head(title) {
    return element(
      'header',
      { class: 'page-head' },
      element('button', { type: 'button', class: 'back', on: { click: () => this.app.back() } }, '← All clips'),
      foreign('h1', title),
    );
  }

  /** @param {Card} card */
  #draw(card) {
    const head = this.#head(clipName(card));
    head.append(this.#ways(card));
    this.side = element('div', { class: 'clip-side' }, clipFacts(card, this.app.gallery.failedChecks(card.id), null));
    this.prompt = foreign('p', card.prompt, { class: 'prompt' });
    fill(
      this,
      head,
      element('div', { class: 'clip-main' }, this.#stage(card), this.prompt, card.ending ? this.#verdict(card) : null, this.#actions(card)),
      this.side,
    );
    this.#showMark();
  }

  /** The ways to other clips. @param {Card} card */
  #ways(card) {
    const [before, after] = this.#neighbours();
    const step = (/** @type {string} */ text, /** @type {string|undefined} */ id, /** @type {string} */ key) =>
      element('button', { type: 'button', disabled: !id, 'aria-keyshortcuts': key, on: { click: () => this.#go(id) } }, text);
    const { ids, count } = this.#ofPrompt(card);
    const words = ids.length === count ? `Compare ${count} of this prompt` : `Compare ${ids.length} of ${count} of this prompt`;
    return element(
      'nav',
      { class: 'ways', 'aria-label': 'Other clips' },
      step('‹ Previous', before, 'K'),
      step('Next ›', after, 'J'),
      count > 1 && card.ending ? element('button', { type: 'button', on: { click: () => this.app.go(compareAddress(ids)) } }, words) : null,
    );
  }

  /** @param {Card} card */
  #ofPrompt(card) {
    const all = this.app.gallery.ofPrompt(card);
    return { ids: spread(card, all).map(({ id }) => id), count: all.length };
  }

  /** The clips before and after this one, in the order of the sheet. */
  #neighbours() {
    const ids = this.app.shown();
    const place = ids.indexOf(this.ids[0] ?? '');
    return place < 0 ? [undefined, ids[0]] : [ids[place - 1], ids[place + 1]];
  }

  /** @param {Card} card */
  #stage(card) {
    const { stage, video } = playerOf(this.app, card);
    this.video = video;
    if (ClipPage.playing) void video?.play().catch(() => {});
    ClipPage.playing = false;
    return stage;
  }

  /** @param {Card} card */
  #verdict(card) {
    this.buttons = markButtons({ name: clipName(card), toggle: (sign) => this.#mark(this.app.marks.get(card.id).sign === sign ? '' : sign) });
    this.note = noteField({ id: card.id, name: clipName(card), marks: this.app.marks, leave: () => this.#focusHead() });
    return element('div', { class: 'verdict' }, this.buttons.pick, this.buttons.reject, this.note.field);
  }

  /** @param {Card} card */
  #actions(card) {
    const address = card.ending && !this.app.links.ended() ? this.app.links.clip(card) : null;
    return element(
      'div',
      { class: 'actions' },
      element('button', { type: 'button', on: { click: () => this.#copy(this.prompt, 'Prompt') } }, 'Copy prompt'),
      // Where a browser does not save it, as from `file://`, it opens beside this page and not in its place.
      address ? element('a', { class: 'button', href: address, download: fileName(card), target: '_blank', rel: 'noopener' }, 'Download') : null,
      card.ending ? this.#chooser(card) : null,
    );
  }

  /** @param {Card} card */
  #chooser(card) {
    const button = element('button', { type: 'button', 'aria-keyshortcuts': 'C', on: { click: () => choose(this.app, card) } });
    const show = () => fill(button, this.app.chosen.has(card.id) ? '☑ Chosen for comparing' : '☐ Choose for comparing');
    this.app.chosen.addEventListener('change', show, { signal: this.gone.signal });
    show();
    return button;
  }

  /** @param {Card} card */
  async #readDetails(card) {
    const details = await this.app.gallery.details(card.id);
    if (!this.isConnected || this.card !== card) return;
    const [own, labels] = clipFacts(card, this.app.gallery.failedChecks(card.id), details);
    if (details?.prompt && this.prompt) fill(this.prompt, details.prompt);
    fill(
      /** @type {Element} */ (this.side),
      own,
      labels,
      details ? inputs(details, this.app.links) : null,
      this.#history(card, details),
      details ? requestFacts(details) : null,
      details ? dagsterFacts(details, runLink(this.app.gallery.dagsterUrl, details.dagster?.run_id)) : null,
      card.ending ? storedFacts(`${this.app.gallery.clipKey(card)}.${card.ending}`) : null,
    );
  }

  /** @param {Card} card @param {Details|null} details */
  #history(card, details) {
    const told = details ? timeline(history(card, details)) : element('p', { class: 'quiet' }, 'Nothing of it is in this gallery.');
    return element('section', { class: 'history' }, element('h2', {}, card.ending ? 'How it came to be' : 'What happened so far'), told);
  }

  /** @param {string|undefined} id */
  #go(id) {
    if (!id) return this.app.say('There is none further on.');
    ClipPage.playing = this.video !== null && !this.video.paused;
    this.app.go(clipAddress(id), true);
  }

  /** @param {Sign} sign */
  #mark(sign) {
    if (this.card) mark(this.app, this.card, sign);
  }

  #showMark() {
    if (!this.card) return;
    const { sign } = this.app.marks.get(this.card.id);
    this.buttons?.show(sign);
    this.note?.show();
    set(this, 'data-mark', sign || null);
  }

  /** @param {number} frames */
  #step(frames) {
    if (!this.video) return;
    this.video.pause();
    const end = this.video.duration || 0;
    this.video.currentTime = Math.min(frame(this.video.currentTime, frames, this.card?.fps || FALLBACK_FPS), end);
  }

  #focusHead() {
    this.querySelector('h1')?.focus();
  }

  /** @param {Element|undefined} from @param {string} what */
  async #copy(from, what) {
    const text = from?.textContent ?? '';
    try {
      await navigator.clipboard.writeText(text);
      this.app.say(`${what} copied.`);
    } catch {
      // Only secure pages may write to the clipboard. The browser's own key copies what is selected.
      if (from) getSelection()?.selectAllChildren(from);
      this.app.say(`${what} selected: Ctrl+C copies it.`);
    }
  }

  #toggle() {
    if (this.video?.paused) void this.video.play().catch(() => {});
    else this.video?.pause();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (document.querySelector('dialog[open]')) return;
    const key = keyName(event);
    // A button that has the focus, and the player's own controls, take Space themselves.
    if (key === 'Space' && isControl(event.target)) return;
    const act = this.#acts()[key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  /** @returns {Record<string, () => unknown>} */
  #acts() {
    const [before, after] = this.#neighbours();
    const onward = (/** @type {Sign} */ sign) => () => {
      this.#mark(sign);
      if (after) this.#go(after);
    };
    return {
      Space: () => this.#toggle(),
      P: () => this.#mark('pick'),
      X: () => this.#mark('reject'),
      U: () => this.#mark(''),
      'Shift+P': onward('pick'),
      'Shift+X': onward('reject'),
      N: () => this.note?.field.focus(),
      C: () => this.card && choose(this.app, this.card),
      'Shift+C': () => compare(this.app, this.card),
      J: () => this.#go(after),
      K: () => this.#go(before),
      ',': () => this.#step(-1),
      '.': () => this.#step(1),
    };
  }
}
customElements.define('clip-page', ClipPage);
