/**
 * Two clips over each other, with a line between them that is moved: the one at its left, the other at its right.
 * The players stay where they are in the document, because a player that is moved starts anew.
 */
import { element, set } from './dom.js';

const START_PERCENT = 50;

export class Wipe {
  #stage;
  #line;
  #range;

  /** @param {HTMLElement} stage the element that holds the players */
  constructor(stage) {
    this.#stage = stage;
    this.#range = /** @type {HTMLInputElement} */ (
      element('input', {
        type: 'range',
        class: 'wipe-range',
        min: '0',
        max: '100',
        step: 'any',
        value: String(START_PERCENT),
        'aria-label': 'Where the left clip ends and the right one begins',
      })
    );
    this.#line = element('div', { class: 'wipe-line' }, element('span', { class: 'wipe-grip', 'aria-hidden': 'true' }, '↔'), this.#range);
    this.#range.addEventListener('input', () => this.#draw());
    stage.addEventListener('pointerdown', (event) => this.#grip(event));
    stage.addEventListener('pointermove', (event) => this.#drag(event));
  }

  get on() {
    return this.#stage.classList.contains('wipe');
  }

  /**
   * Lays `right` over `left`; all others are out of sight.
   * @param {Element} left @param {Element} right
   */
  begin(left, right) {
    this.#forget();
    this.#stage.classList.add('wipe');
    left.classList.add('wipe-left');
    right.classList.add('wipe-right');
    if (this.#line.parentElement !== this.#stage) this.#stage.append(this.#line);
    this.#draw();
  }

  end() {
    this.#forget();
    this.#stage.classList.remove('wipe');
    this.#line.remove();
  }

  focus() {
    this.#range.focus();
  }

  #forget() {
    for (const child of this.#stage.children) child.classList.remove('wipe-left', 'wipe-right');
  }

  #draw() {
    this.#stage.style.setProperty('--wipe', `${this.#range.value}%`);
    set(this.#range, 'aria-valuetext', `${Math.round(Number(this.#range.value))} percent of the left clip`);
  }

  /** @param {PointerEvent} event */
  #grip(event) {
    if (!this.on || event.button !== 0 || !(event.target instanceof Element) || event.target.closest('figcaption, button, a') !== null) return;
    event.preventDefault();
    this.#stage.setPointerCapture(event.pointerId);
    this.#place(event);
    this.focus();
  }

  /** @param {PointerEvent} event */
  #drag(event) {
    if (this.on && this.#stage.hasPointerCapture(event.pointerId)) this.#place(event);
  }

  /** @param {PointerEvent} event */
  #place(event) {
    const box = this.#line.getBoundingClientRect();
    if (box.width === 0) return;
    const share = Math.max(0, Math.min(1, (event.clientX - box.left) / box.width));
    this.#range.value = (share * 100).toFixed(2);
    this.#draw();
  }
}
