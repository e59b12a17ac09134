/** How values are written for people: the same on every page. */

const day = new Intl.DateTimeFormat('en-CA', { dateStyle: 'short' });
const moment = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'short' });

/** @param {number} count */
export const number = (count) => count.toLocaleString('en');
/** `1 clip`, `2 clips`. @param {number} count @param {string} one */
export const counted = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;
/** @type {Map<number, string>} By quarter of an hour: writing a date takes its time, and all zones differ by such. */
const dates = new Map();

/** @param {number|undefined} at Seconds since 1970. */
export function date(at) {
  if (!at) return '';
  const quarter = Math.floor(at / 900);
  const known = dates.get(quarter) ?? day.format(at * 1000);
  dates.set(quarter, known);
  return known;
}
/** @param {number|undefined} at Seconds since 1970. */
export const time = (at) => (at ? moment.format(at * 1000) : '');
/** @param {number|undefined} seconds */
export const length = (seconds) => (seconds === undefined ? '' : `${Number(seconds.toFixed(1))} s`);

/**
 * `0.69 $`, `≈ 0.69 $` of an estimate, `–` where it is not known.
 * @param {{cost?: number, estimated?: boolean}} card
 */
export function cost(card) {
  if (typeof card.cost !== 'number') return '–';
  const digits = card.cost !== 0 && Math.abs(card.cost) < 0.1 ? 3 : 2;
  return `${card.estimated ? '≈ ' : ''}${card.cost.toFixed(digits)} $`;
}

/** @type {Record<string, string>} */
const STATES = { unknown: 'unknown outcome' };
/** @param {string} state */
export const stateWord = (state) => (Object.hasOwn(STATES, state) ? String(STATES[state]) : state.replaceAll('_', ' '));

/**
 * What all of a list of models begin with, up to a `/`, `-` or `:`; it says nothing on a card.
 * @param {string[]} models
 */
export function commonPrefix(models) {
  const [first = '', ...rest] = [...new Set(models)].sort();
  const last = rest.at(-1);
  if (last === undefined) return '';
  let end = 0;
  while (end < first.length && first[end] === last[end]) end += 1;
  return first.slice(0, end).match(/^.*[/:\-_ ]/)?.[0] ?? '';
}
