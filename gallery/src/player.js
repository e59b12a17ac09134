/** The one player of the sheet: it plays in a card's place, without sound, and takes its source off when it leaves. */
import { element } from './dom.js';

/** @typedef {import('./types.js').App} App */
/** @typedef {import('./types.js').Card} Card */

export class Player {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    /** @type {HTMLVideoElement|null} */
    this.video = null;
    /** @type {HTMLElement|null} */
    this.cell = null;
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.waiting = undefined;
  }

  /** After a moment, so that passing over the sheet loads nothing. @param {HTMLElement} cell @param {Card} card @param {number} delayMs */
  soon(cell, card, delayMs) {
    clearTimeout(this.waiting);
    if (this.cell !== cell) this.waiting = setTimeout(() => this.play(cell, card), delayMs);
  }

  /** @param {HTMLElement} cell @param {Card} card */
  play(cell, card) {
    this.stop();
    const source = this.app.links.ended() ? null : this.app.links.clip(card);
    const place = cell.querySelector('.poster');
    if (!source || !place || !cell.isConnected) return;
    const video = element('video', { src: source, muted: true, loop: true, playsinline: true, tabindex: -1, 'aria-hidden': 'true', preload: 'auto' });
    video.addEventListener('playing', () => video.classList.add('shown'), { once: true });
    video.addEventListener('error', () => this.failed(cell, video), { once: true });
    this.video = video;
    this.cell = cell;
    // Below the signs and the length.
    place.querySelector('.signs')?.before(video);
    video.play().catch(() => {});
  }

  /** @param {HTMLElement} cell @param {HTMLVideoElement} video */
  failed(cell, video) {
    if (this.video !== video) return;
    this.stop();
    const text = this.app.links.ended() ? 'Link ended' : 'Clip missing';
    cell.querySelector('.poster .trouble')?.remove();
    cell.querySelector('.poster')?.append(element('p', { class: 'trouble' }, text));
    this.app.say(`${text}.`);
  }

  stop() {
    clearTimeout(this.waiting);
    const video = this.video;
    this.video = null;
    this.cell = null;
    if (!video) return;
    video.pause();
    // Without a source no download goes on.
    video.removeAttribute('src');
    video.load();
    video.remove();
  }
}
