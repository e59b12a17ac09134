/** The bar of a comparison: play, place, frames, sound, speed, blind, wipe. */
import { element, fill, set } from './dom.js';

/** @typedef {import('./transport.js').Transport} Transport */

const SPEEDS = [0.25, 0.5, 1, 1.5, 2];

/**
 * What the bar asks the page to do.
 * @typedef {{sound: (place: number) => void, blind: () => void, plain: () => void, wipe: () => void, sides: (left: number, right: number) => void}} Acts
 */

/** @param {number} seconds */
const tenths = (seconds) => seconds.toFixed(1);

export class Controls {
  /** @param {Transport} transport @param {Acts} acts */
  constructor(transport, acts) {
    this.transport = transport;
    const button = (/** @type {() => void} */ act, /** @type {Record<string, unknown>} */ more = {}) =>
      element('button', { type: 'button', ...more, on: { click: act } });
    this.play = button(() => void transport.toggle(), { class: 'play', 'aria-keyshortcuts': 'Space' });
    this.back = button(() => void transport.step(-1), { 'aria-label': 'A frame back', title: 'A frame back (,)' });
    this.on = button(() => void transport.step(1), { 'aria-label': 'A frame on', title: 'A frame on (.)' });
    this.bar = element('input', { type: 'range', class: 'place-bar', min: 0, max: 1, step: 'any', value: 0, 'aria-label': 'Place' });
    this.bar.addEventListener('input', () => void transport.seek(Number(this.bar.value)));
    this.clock = element('span', { class: 'clock' });
    this.sound = element('select', { 'aria-label': 'Sound' });
    this.sound.addEventListener('change', () => acts.sound(Number(this.sound.value)));
    this.speed = element('select', { 'aria-label': 'Speed' }, SPEEDS.map((speed) => element('option', { value: speed, selected: speed === 1 }, `${speed}×`)));
    this.speed.addEventListener('change', () => transport.setRate(Number(this.speed.value)));
    this.blind = button(acts.blind);
    this.plain = button(acts.plain);
    fill(this.plain, 'End blind');
    this.wipe = button(acts.wipe, { 'aria-pressed': 'false', title: 'Two over each other, with a line between them' });
    fill(this.wipe, 'Wipe');
    const side = (/** @type {string} */ label) => {
      const chosen = element('select', { 'aria-label': label });
      chosen.addEventListener('change', () => acts.sides(Number(this.left.value), Number(this.right.value)));
      return chosen;
    };
    this.left = side('Left clip');
    this.right = side('Right clip');
    this.sides = element('span', { class: 'sides', hidden: true }, this.left, this.right);
    this.waiting = element('p', { class: 'waiting', role: 'status' });
    fill(this.back, '‹');
    fill(this.on, '›');
    this.element = element(
      'div',
      { class: 'controls', role: 'group', 'aria-label': 'All clips together' },
      this.play,
      element('span', { class: 'frames' }, this.back, this.on),
      this.bar,
      this.clock,
      this.sound,
      this.speed,
      this.wipe,
      this.sides,
      this.blind,
      this.plain,
    );
  }

  /** Writes where it is; what stands there already is not written again. */
  showPlace() {
    const { position, length } = this.transport;
    const [now, end] = [tenths(Math.min(position, length)), tenths(length)];
    this.bar.value = String(position);
    if (this.clock.dataset['now'] === now && this.clock.dataset['end'] === end) return;
    Object.assign(this.clock.dataset, { now, end });
    fill(this.clock, `${now} / ${end} s`);
    set(this.bar, 'aria-valuetext', `${now} of ${end} seconds`);
  }

  /** @param {string[]} names Of all clips, by place. */
  showState(names) {
    const { wanted, length, missing, late, state } = this.transport;
    set(this.bar, 'max', length || 1);
    fill(this.play, wanted ? '❚❚ Pause' : '▶ Play');
    this.showPlace();
    clearTimeout(this.soon);
    const named = (/** @type {number[]} */ places) => places.map((place) => names[place]).join(', ');
    const without = late.length ? `Without ${named(late)}: ${late.length > 1 ? 'their' : 'its'} data does not come` : '';
    if (state !== 'waiting') fill(this.waiting, without);
    // Each loop waits for a moment; that is not worth a word.
    else this.soon = setTimeout(() => fill(this.waiting, missing.length ? `Waiting for ${named(missing)}` : without), 500);
  }

  /**
   * The names to choose from.
   * @param {{names: string[], sound: number, left: number, right: number}} choice
   */
  showChoice({ names, sound, left, right }) {
    /** @param {HTMLSelectElement} select @param {(name: string) => string} words @param {number} chosen */
    const offer = (select, words, chosen) =>
      fill(select, names.map((name, place) => element('option', { value: place, selected: place === chosen }, words(name))));
    offer(this.sound, (name) => `Sound: ${name}`, sound);
    this.sound.prepend(element('option', { value: -1, selected: sound < 0 }, 'Sound: off'));
    offer(this.left, (name) => `Left: ${name}`, left);
    offer(this.right, (name) => `Right: ${name}`, right);
  }

  /** @param {import('./blind.js').Stage} stage @param {number} clips */
  showBlind(stage, clips) {
    fill(this.blind, { off: 'Blind', blind: 'Reveal', revealed: 'Blind again' }[stage]);
    this.blind.disabled = clips < 2;
    this.plain.hidden = stage !== 'revealed';
  }

  /** @param {boolean} on @param {number} clips */
  showWipe(on, clips) {
    this.wipe.disabled = clips < 2;
    set(this.wipe, 'aria-pressed', String(on));
    this.sides.hidden = !on || clips < 3;
  }
}
