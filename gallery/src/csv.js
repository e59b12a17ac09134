/** Marks as a CSV file, and back. `clip`, the full key in the store, is what they are joined by. */
import { readMark } from './marks.js';

/** @typedef {import('./types.js').Card} Card */
/** @typedef {import('./marks.js').Mark} Mark */

const COLUMNS = ['row', 'take', 'attempt', 'output', 'clip', 'mark', 'note', 'model', 'marked_at'];
/** A cell that a spreadsheet would compute; more apostrophes before it, so that the guard can be taken off again. */
const GUARDED = /^'*[=+\-@\t\r]/;

/** @param {unknown} value */
function cell(value) {
  const plain = String(value ?? '');
  const text = GUARDED.test(plain) ? `'${plain}` : plain;
  return /[",;\r\n\t]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** @param {string} text */
const unguarded = (text) => (text.startsWith("'") && GUARDED.test(text.slice(1)) ? text.slice(1) : text);

/**
 * UTF-8 with a byte order mark, as spreadsheets want it.
 * @param {{card: Card, clip: string, mark: Mark}[]} marked
 */
export function write(marked) {
  const lines = marked.map(({ card, clip, mark }) => {
    const output = card.id.split('/').at(-1);
    return [card.row, card.take ?? 1, card.attempt ?? 1, output, clip, mark.sign, mark.note, card.model, mark.at];
  });
  return `\uFEFF${[COLUMNS, ...lines].map((line) => line.map(cell).join(',')).join('\r\n')}\r\n`;
}

/**
 * The records of a CSV file, with `,`, `;` or a tab between the cells, whichever its first line has.
 * @param {string} text
 * @returns {string[][]}
 */
export function parse(text) {
  const plain = text.replace(/^\uFEFF/, '');
  const first = plain.slice(0, plain.search(/[\r\n]|$/));
  const between = [',', ';', '\t'].reduce((best, sign) => (first.split(sign).length > first.split(best).length ? sign : best));
  /** @type {string[][]} */
  const records = [];
  /** @type {string[]} */
  let record = [];
  let value = '';
  let quoted = false;
  const end = () => {
    record.push(value);
    value = '';
  };
  for (let at = 0; at < plain.length; at += 1) {
    const sign = plain[at];
    if (quoted) {
      if (sign !== '"') value += sign;
      else if (plain[at + 1] === '"') value += plain[(at += 1)];
      else quoted = false;
    } else if (sign === '"' && value === '') quoted = true;
    else if (sign === between) end();
    else if (sign === '\n' || sign === '\r') {
      end();
      records.push(record);
      record = [];
    } else value += sign;
  }
  end();
  records.push(record);
  return records.filter((record) => record.some((one) => one !== ''));
}

/**
 * The marks in such a file; null if it has no column `clip` or no column `mark`.
 * @param {string} text
 * @returns {{clip: string, mark: Mark}[]|null}
 */
export function read(text) {
  const [head = [], ...records] = parse(text);
  const place = (/** @type {string} */ name) => head.findIndex((value) => value.trim().toLowerCase() === name);
  if (place('clip') < 0 || place('mark') < 0) return null;
  return records.map((record) => {
    const of = (/** @type {string} */ name) => unguarded(record[place(name)] ?? '');
    // A spreadsheet may have written the time in its own way: then it is not known.
    const time = /^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(of('marked_at')) ? of('marked_at') : '';
    return { clip: of('clip'), mark: readMark(of('mark').trim().toLowerCase(), of('note'), time) };
  });
}
