/** What a person does with marks and choices: the same by key, by button, on the sheet and on a clip's page. */
import { compareAddress } from './address.js';
import { MOST } from './chosen.js';
import { read, write } from './csv.js';
import { element } from './dom.js';
import { spread } from './group.js';
import { fileLink } from './links.js';
import { counted } from './words.js';

/** @typedef {import('./types.js').App} App */
/** @typedef {import('./types.js').Card} Card */
/** @typedef {import('./marks.js').Sign} Sign */

const SAID = { pick: 'Picked.', reject: 'Rejected.', '': 'No mark.' };

/** @param {App} app @param {Card} card @param {Sign} sign */
export function mark(app, card, sign) {
  if (!card.ending) return app.say('There is no clip to mark.');
  app.marks.set(card.id, sign);
  return app.say(SAID[sign]);
}

/** @param {App} app @param {Card} card */
export function choose(app, card) {
  if (!card.ending) app.say('There is no clip to compare.');
  else if (!app.chosen.toggle(card.id)) app.say(`${MOST} clips are chosen; that is the most.`);
  else app.say(`${counted(app.chosen.ids.length, 'clip')} chosen.`);
}

/** The chosen clips side by side, or, where fewer than two are chosen, those of the card's prompt. @param {App} app @param {Card|null} card */
export function compare(app, card) {
  const { ids } = app.chosen;
  const of = card ?? app.gallery.find(ids[0] ?? '');
  if (ids.length >= 2) return app.go(compareAddress(ids));
  const cards = of?.ending ? spread(of, app.gallery.ofPrompt(of)) : [];
  if (cards.length < 2) return app.say('There is no other clip of this prompt. Choose two with C.');
  return app.go(compareAddress(cards.map(({ id }) => id)));
}

/** Asks for a note. The focus returns to where it was. @param {App} app @param {Card} card */
export function askNote(app, card) {
  if (!card.ending) return app.say('There is no clip to note anything of.');
  const text = element('textarea', { rows: 4, 'aria-labelledby': 'note-title', maxlength: 2000 });
  text.value = app.marks.get(card.id).note;
  const keep = () => {
    app.marks.note(card.id, text.value);
    app.say(text.value.trim() ? 'Note kept.' : 'No note.');
    dialog.close();
  };
  text.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    keep();
  });
  const dialog = element(
    'dialog',
    { class: 'asking', 'aria-labelledby': 'note-title', on: { close: () => dialog.remove() } },
    element('h2', { id: 'note-title' }, 'Note'),
    text,
    element('p', { class: 'quiet' }, 'Enter keeps it, Shift+Enter begins a line, Esc leaves it as it was.'),
    element(
      'div',
      { class: 'buttons' },
      element('button', { type: 'button', on: { click: () => dialog.close() } }, 'Cancel'),
      element('button', { type: 'button', class: 'first', on: { click: keep } }, 'Keep'),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
  text.focus();
}

/** @param {App} app */
export function exportMarks(app) {
  const marked = app.marks.entries().map(([id, one]) => {
    const card = app.gallery.find(id) ?? { id, row: id.split('/')[0] ?? '', state: '' };
    return { card, clip: app.gallery.clipKey(card), mark: one };
  });
  const file = fileLink(new Blob([write(marked)], { type: 'text/csv;charset=utf-8' }));
  const name = app.gallery.name.replaceAll(/[^\w.-]+/g, '-');
  element('a', { href: file, download: `${name}-picks.csv` }).click();
  setTimeout(() => URL.revokeObjectURL(file.address), 60_000);
  app.marks.exported();
  app.say(`${counted(marked.length, 'mark')} exported.`);
}

/** Asks for a CSV file, and takes the marks that are in it. @param {App} app */
export function importMarks(app) {
  const input = element('input', { type: 'file', accept: '.csv,text/csv', 'aria-label': 'CSV file with marks' });
  input.addEventListener('change', async () => {
    const file = input.files?.[0];
    if (file) takeMarks(app, await file.text().catch(() => ''));
  });
  input.click();
}

/** @param {App} app @param {string} text */
export function takeMarks(app, text) {
  const marks = read(text);
  if (!marks) return app.say('Nothing was imported: the file has no columns "clip" and "mark".');
  const ids = new Map(app.gallery.cards.map((card) => [app.gallery.clipKey(card), card.id]));
  /** @type {[string, import('./marks.js').Mark][]} */
  const known = [];
  for (const { clip, mark: one } of marks) {
    const id = ids.get(clip);
    if (id !== undefined && (one.sign || one.note)) known.push([id, one]);
  }
  const { taken, kept } = app.marks.merge(known);
  const unknown = marks.filter(({ clip }) => !ids.has(clip)).length;
  const parts = [
    `${counted(taken, 'mark')} imported`,
    kept > 0 && `${kept} kept as they are: marked here later`,
    unknown > 0 && `${unknown} of clips that are not in this gallery`,
  ];
  return app.say(`${parts.filter(Boolean).join('; ')}.`);
}
