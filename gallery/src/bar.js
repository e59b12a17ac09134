/** `<clip-bar>`: at the bottom, once there is something: marks and their file, the chosen clips. */
import { element, fill, set } from './dom.js';
import { compare, exportMarks, importMarks } from './marking.js';
import { makeTray } from './tray.js';
import { number } from './words.js';

/** @typedef {import('./types.js').App} App */

export class ClipBar extends HTMLElement {
  /** @param {App} app @param {() => void} rest Gives the focus a place where what had it has gone. */
  constructor(app, rest) {
    super();
    this.app = app;
    this.rest = rest;
    this.counts = element('span', { class: 'marked' });
    this.tray = element('div', { class: 'tray' });
    const button = (/** @type {string} */ text, /** @type {() => void} */ click, kind = '') =>
      element('button', { type: 'button', class: kind, on: { click } }, text);
    this.save = button('Export CSV', () => exportMarks(app));
    this.take = button('Import', () => importMarks(app), 'take');
    this.drop = button('Drop', () => app.chosen.clear());
    this.drop.title = 'Choose none';
    this.compare = button('', () => compare(app, null), 'first');
    this.marks = element('div', { class: 'marks' }, this.counts, this.save, this.take);
    this.choice = element('div', { class: 'choice' }, this.tray, this.drop, this.compare);
  }

  connectedCallback() {
    if (this.marks.parentNode) return;
    this.append(this.marks, this.choice);
    set(this, 'role', 'region');
    set(this, 'aria-label', 'Marks and chosen clips');
    this.app.marks.addEventListener('change', () => this.draw());
    this.app.chosen.addEventListener('change', () => this.draw());
    this.draw();
  }

  draw() {
    const { marks, chosen } = this.app;
    const { picks, rejects, all } = marks.counts();
    const noted = all - picks - rejects;
    fill(this.counts, `${number(picks)} picked, ${number(rejects)} rejected${noted > 0 ? `, ${number(noted)} noted` : ''}`);
    this.marks.hidden = all === 0;
    this.choice.hidden = chosen.ids.length === 0;
    this.hidden = this.marks.hidden && this.choice.hidden;
    const focused = this.contains(document.activeElement);
    fill(this.tray, makeTray(this.app));
    fill(this.compare, chosen.ids.length === 1 ? 'Compare' : `Compare ${chosen.ids.length}`);
    if (focused && (this.choice.hidden || !this.contains(document.activeElement))) this.rest();
    this.compare.title = chosen.ids.length === 1 ? 'With all of its prompt' : 'Side by side';
  }
}
customElements.define('clip-bar', ClipBar);
