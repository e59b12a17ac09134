/** Pick, reject and note of one clip, as buttons and a field. */
import { element, set } from './dom.js';

/** @typedef {import('./types.js').App} App */
/** @typedef {import('./marks.js').Sign} Sign */

const WRITTEN_MS = 300;

/**
 * What is spoken after a mark was changed.
 * @param {string} name @param {Sign} sign
 */
export function spoken(name, sign) {
  if (sign === 'pick') return `${name}: picked`;
  return sign === 'reject' ? `${name}: rejected` : `${name}: mark taken away`;
}

/**
 * The two buttons of a mark. `name` says what they belong to; `short` shows the signs only.
 * @param {{name: string, short?: boolean, toggle: (sign: Sign) => void}} options
 */
export function markButtons({ name, short = false, toggle }) {
  /** @param {Sign} sign @param {string} symbol @param {string} word */
  const button = (sign, symbol, word) =>
    element(
      'button',
      {
        type: 'button',
        class: `mark-button ${sign}`,
        'aria-pressed': 'false',
        'aria-label': short ? `${word} ${name}` : null,
        title: short ? word : null,
        on: { click: () => toggle(sign) },
      },
      element('span', { 'aria-hidden': 'true' }, symbol),
      short ? null : ` ${word}`,
    );
  const [pick, reject] = [button('pick', '✓', 'Pick'), button('reject', '✗', 'Reject')];
  return {
    pick,
    reject,
    /** @param {Sign} sign */
    show(sign) {
      set(pick, 'aria-pressed', String(sign === 'pick'));
      set(reject, 'aria-pressed', String(sign === 'reject'));
    },
  };
}

/**
 * A field for a note. It is kept a moment after the last letter, and when the field is left; `flush` keeps it at once.
 * Enter ends the note, Shift+Enter begins a line, Esc leaves it.
 * @param {{id: string, name: string, marks: import('./marks.js').Marks, leave: () => void}} options
 */
export function noteField({ id, name, marks, leave }) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let written = false;
  /** What was noted before, while it is not to be seen. @type {string|null} */
  let before = null;
  const flush = () => {
    clearTimeout(timer);
    if (written) marks.note(id, [before, field.value.trim()].filter(Boolean).join(' '));
    written = false;
  };
  const field = element('textarea', {
    class: 'note',
    rows: 1,
    placeholder: 'Note',
    'aria-label': `Note on ${name}`,
    dir: 'auto',
    on: {
      input: () => {
        written = true;
        clearTimeout(timer);
        timer = setTimeout(flush, WRITTEN_MS);
      },
      blur: flush,
      keydown: (/** @type {KeyboardEvent} */ event) => {
        if (event.isComposing || !(event.key === 'Escape' || (event.key === 'Enter' && !event.shiftKey))) return;
        event.preventDefault();
        event.stopPropagation();
        flush();
        leave();
      },
    },
  });
  const show = () => {
    if (before === null && !written && document.activeElement !== field) field.value = marks.get(id).note;
  };
  show();
  return {
    field,
    flush,
    /** Shows what is kept now, unless a person is writing. */
    show,
    /** An earlier note is out of sight; what is written meanwhile comes after it. @param {boolean} hides */
    conceal(hides) {
      if (hides === (before !== null)) return;
      flush();
      before = hides ? marks.get(id).note : null;
      field.value = hides ? '' : marks.get(id).note;
    },
  };
}
