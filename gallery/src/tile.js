/** One clip of a comparison: its player, its name, its marks. */
import { clipAddress } from './address.js';
import { element, fill, foreign, set } from './dom.js';
import { takeWords } from './group.js';
import { pageLink } from './links.js';
import { markButtons, noteField } from './verdict.js';
import { cost } from './words.js';

/** @typedef {import('./types.js').App} App */
/** @typedef {import('./types.js').Card} Card */
/** @typedef {import('./marks.js').Sign} Sign */

/**
 * What a tile shows: where it stands, and how much may be known of it.
 * @typedef {{place: string, key: string, hides: boolean, letters: boolean, model: string, prompt: boolean}} Shown
 */

export class Tile {
  /** Why it cannot be played; empty if it can. */
  problem = '';

  /**
   * @param {App} app @param {Card} card
   * @param {{mark: (sign: Sign) => void, drop: () => void, failed: () => void, sign: () => Sign}} acts
   */
  constructor(app, card, acts) {
    this.app = app;
    this.card = card;
    this.acts = acts;
    const address = app.links.ended() ? null : app.links.clip(card);
    this.video = element('video', {
      src: address,
      muted: true,
      playsinline: true,
      preload: 'auto',
      on: { error: () => this.#fail() },
    });
    this.media = element('div', { class: 'media' }, this.video);
    this.caption = element('figcaption');
    this.element = element('figure', { class: 'tile' }, this.media, this.caption);
    this.buttons = markButtons({ name: '', short: true, toggle: acts.mark });
    this.pen = element('button', { type: 'button', class: 'pen', title: 'Note', on: { click: () => this.write() } }, '✎');
    this.note = noteField({ id: card.id, name: '', marks: app.marks, leave: () => this.buttons.pick.focus() });
    if (address === null) this.#fail(false);
  }

  get player() {
    return { video: this.video, seconds: this.card.seconds, fps: this.card.fps };
  }

  /** Its name for those who listen; in a blind comparison its letter and nothing else. @param {Shown} shown */
  name(shown) {
    if (shown.hides) return shown.place;
    return [shown.place, this.card.model, takeWords(this.card)].filter(Boolean).join(', ');
  }

  /** @param {Shown} shown */
  show(shown) {
    this.shown = shown;
    const name = this.name(shown);
    set(this.element, 'aria-label', `Clip ${name}`);
    set(this.video, 'aria-label', `Clip ${name}`);
    set(this.buttons.pick, 'aria-label', `Pick ${name}`);
    set(this.buttons.reject, 'aria-label', `Reject ${name}`);
    set(this.note.field, 'aria-label', `Note on ${name}`);
    set(this.pen, 'aria-label', `Note on ${name}`);
    this.note.conceal(shown.hides);
    this.element.classList.toggle('absent', this.problem !== '');
    fill(
      this.caption,
      element(
        'div',
        { class: 'tile-name' },
        element('kbd', {}, shown.key),
        element('div', { class: 'tile-words' }, shown.letters && shown.key !== shown.place ? element('strong', {}, `${shown.place} `) : null, this.#words(shown)),
      ),
      this.problem ? null : element('div', { class: 'tile-marks' }, this.buttons.pick, this.buttons.reject, this.pen),
      shown.hides ? null : element('button', { type: 'button', class: 'drop', 'aria-label': `Take away ${name}`, title: 'Take away', on: { click: this.acts.drop } }, '−'),
      this.problem ? null : this.note.field,
    );
    this.showMark();
  }

  /** @param {Shown} shown */
  #words(shown) {
    const { card } = this;
    if (shown.hides) return this.problem ? element('span', { class: 'quiet' }, this.problem) : null;
    const price = typeof card.cost === 'number' ? cost(card) : 'cost unknown';
    const failed = this.app.gallery.failedChecks(card.id);
    return [
      foreign('a', shown.model, { href: pageLink(clipAddress(card.id)), title: card.model }),
      element('span', { class: 'quiet' }, [takeWords(card), price].filter(Boolean).flatMap((words) => [' · ', element('span', { class: 'whole' }, words)])),
      this.problem ? element('span', { class: 'quiet' }, `: ${this.problem}`) : null,
      failed.length ? foreign('span', `✗ check failed`, { class: 'failed', title: failed.join('\n') }) : null,
      shown.prompt ? foreign('p', card.prompt, { class: 'tile-prompt', title: card.prompt }) : null,
    ];
  }

  showMark() {
    const sign = this.acts.sign();
    this.buttons.show(sign);
    set(this.element, 'data-mark', sign || null);
    this.note.show();
    this.element.classList.toggle('noted', this.note.field.value !== '');
  }

  /** Shows the field for a note. */
  write() {
    this.element.classList.add('writing');
    this.note.field.focus();
  }

  /** @param {boolean} [told] */
  #fail(told = true) {
    if (this.app.links.ended()) this.problem = 'link ended';
    else if (!this.card.ending) this.problem = 'no clip';
    else this.problem = 'its file is not at its place, or cannot be read here';
    if (told) this.acts.failed();
  }

  /** Keeps what was written, and ends its download. */
  end() {
    this.note.flush();
    this.video.pause();
    this.video.removeAttribute('src');
    this.video.load();
  }
}
