/** Search, filters with their counts, and order. Pure: values in, values out. */
import { date } from './words.js';

/** @typedef {import('./types.js').Card} Card */
/** @typedef {import('./marks.js').Mark} Mark */

/**
 * @typedef {{text: string, without: boolean}} Word
 * @typedef {Map<string, Map<string, number>>} Counts Facet to value to number of cards.
 */

/** Facets that come before the columns of labels, and the one that comes after. */
export const FIRST = ['state', 'model', 'checks', 'mark'];
export const LAST = 'day';
/** The order of states in the list of filters; others follow. */
export const STATES = ['stored', 'ready', 'rendering', 'waiting', 'withheld', 'new', 'failed', 'refused', 'unknown', 'abandoned', 'invalid'];

/** Without case, accents and other marks; `ß` is `ss`. @param {string} text */
export function fold(text) {
  return text.normalize('NFKD').replace(/\p{M}+/gu, '').toLowerCase().replaceAll('ß', 'ss');
}

/**
 * All words, `"phrases"`, `-without`.
 * @param {string} query
 * @returns {Word[]}
 */
export function parseQuery(query) {
  const words = [];
  for (const [, minus, phrase, word] of fold(query).matchAll(/(-?)(?:"([^"]*)"?|([^\s"]+))/g)) {
    const text = (phrase ?? word ?? '').replaceAll(/\s+/g, ' ').trim();
    if (text) words.push({ text, without: minus === '-' });
  }
  return words;
}

/** @param {Mark} mark @returns {string[]} */
export function markValues(mark) {
  return [mark.sign || 'unmarked', ...(mark.note ? ['with a note'] : [])];
}

/** @param {Card} card @param {boolean} failed @returns {[string, string][]} Facet and value. */
function valuesOf(card, failed) {
  /** @type {[string, string][]} */
  const values = [
    ['state', card.state],
    ['checks', failed ? 'failed' : card.ending ? 'passed' : 'not checked'],
  ];
  for (const [column, value] of card.labels ?? []) values.push([`label:${column}`, value]);
  if (card.model) values.push(['model', card.model]);
  if (card.at) values.push(['day', date(card.at)]);
  return values;
}

/** Cards with what is computed once for all searches: folded text, and a number for each value of each facet. */
export class Table {
  /** @param {Card[]} cards Newest first. @param {(id: string) => boolean} failed Whether a check of it failed. */
  constructor(cards, failed) {
    this.cards = cards;
    /** @type {Map<string, Map<string, number>>} Facet to value to its number. */
    this.numbers = new Map([['mark', new Map()]]);
    /** @type {string[]} Of a value's number, its facet. */
    this.facetOf = [];
    // A sign between the parts, so that no phrase reaches over two of them.
    this.texts = cards.map((card) => {
      const parts = [card.prompt, card.row, card.model, card.reason, ...(card.labels ?? []).map(([, value]) => value)];
      return fold(parts.filter(Boolean).join('\n').replaceAll(/[^\S\n]+/g, ' '));
    });
    this.values = cards.map((card) => valuesOf(card, failed(card.id)).map(([facet, value]) => this.number(facet, value)));
    /** @type {Map<string, number[]>} */
    this.orders = new Map();
  }

  /** @param {string} facet @param {string} value */
  number(facet, value) {
    let values = this.numbers.get(facet);
    if (!values) this.numbers.set(facet, (values = new Map()));
    let number = values.get(value);
    if (number === undefined) {
      values.set(value, (number = this.facetOf.length));
      this.facetOf.push(facet);
    }
    return number;
  }

  /** Numbers of the cards in an order; sorted once. @param {string} sort */
  order(sort) {
    const known = this.orders.get(sort);
    if (known) return known;
    const made = sorted(this.cards, sort);
    this.orders.set(sort, made);
    return made;
  }
}

/**
 * The cards that fit, and for each value of each facet how many there would be with it: one pass for both. A value is
 * counted among the cards that fit the search and all *other* facets.
 *
 * @param {Table} table
 * @param {{query?: string, filters?: Map<string, string[]>, sort?: string}} place
 * @param {(id: string) => Mark} markOf
 * @returns {{cards: Card[], counts: Counts}}
 */
export function filter(table, { query = '', filters = new Map(), sort = 'newest' }, markOf) {
  const words = parseQuery(query);
  const wanted = [...filters].filter(([, values]) => values.length > 0);
  const accepted = new Set(wanted.flatMap(([facet, values]) => values.map((value) => table.number(facet, value))));
  /** @type {Card[]} */
  const cards = [];
  /** @type {number[]} */
  const sums = [];
  const met = new Set();
  const unmarked = [table.number('mark', 'unmarked')];
  const marksOf = (/** @type {Mark} */ mark) => (mark.sign || mark.note ? markValues(mark).map((value) => table.number('mark', value)) : unmarked);
  for (const n of table.order(sort)) {
    const card = /** @type {Card} */ (table.cards[n]);
    if (!words.every((word) => table.texts[n]?.includes(word.text) !== word.without)) continue;
    const values = [.../** @type {number[]} */ (table.values[n]), ...marksOf(markOf(card.id))];
    met.clear();
    if (accepted.size > 0) for (const value of values) if (accepted.has(value)) met.add(table.facetOf[value]);
    const unmet = wanted.length - met.size;
    if (unmet > 1) continue;
    if (unmet === 0) cards.push(card);
    const only = unmet === 1 ? wanted.find(([facet]) => !met.has(facet))?.[0] : undefined;
    for (const value of values) if (!only || table.facetOf[value] === only) sums[value] = (sums[value] ?? 0) + 1;
  }
  // Values without a single card stand in the list as well, with 0.
  const counts = new Map([...table.numbers].map(([facet, values]) => [facet, new Map([...values].map(([value, number]) => [value, sums[number] ?? 0]))]));
  return { cards, counts };
}

/**
 * The facets in the order in which they are shown: columns of labels in the order of their first coming.
 * @param {Counts} counts
 */
export function facets(counts) {
  const labels = [...counts.keys()].filter((facet) => facet.startsWith('label:'));
  return [...FIRST, ...labels, LAST].filter((facet) => counts.has(facet));
}

/**
 * The values of a facet in the order in which they are shown.
 * @param {string} facet
 * @param {Map<string, number>} values
 * @param {Map<string, number>} all Their numbers without search and filters: an order that does not jump.
 * @returns {[string, number][]}
 */
export function ordered(facet, values, all) {
  const pairs = [...values];
  const fixed = { state: STATES, checks: ['passed', 'failed', 'not checked'], mark: ['pick', 'reject', 'unmarked', 'with a note'] }[facet];
  if (fixed) {
    const place = (/** @type {string} */ value) => (fixed.includes(value) ? fixed.indexOf(value) : fixed.length);
    return pairs.sort(([one], [other]) => place(one) - place(other));
  }
  if (facet === LAST) return pairs.sort(([one], [other]) => (one < other ? 1 : -1));
  return pairs.sort(([one], [other]) => (all.get(other) ?? 0) - (all.get(one) ?? 0) || words.compare(one, other));
}

const words = new Intl.Collator('en', { numeric: true, sensitivity: 'base' });

/**
 * Numbers of the cards in an order; `newest` is the one they come in.
 * @param {Card[]} cards Newest first.
 * @param {string} sort
 */
function sorted(cards, sort) {
  /** @type {Record<string, (one: Card, other: Card) => number>} */
  const orders = {
    oldest: (one, other) => (one.at ?? Number.MAX_VALUE) - (other.at ?? Number.MAX_VALUE),
    prompt: (one, other) => words.compare(one.prompt?.slice(0, 200) ?? '', other.prompt?.slice(0, 200) ?? ''),
    row: (one, other) => words.compare(one.row, other.row) || (one.take ?? 0) - (other.take ?? 0),
    dearest: (one, other) => (other.cost ?? -1) - (one.cost ?? -1),
  };
  const compare = Object.hasOwn(orders, sort) ? orders[sort] : undefined;
  const numbers = [...cards.keys()];
  const card = (/** @type {number} */ n) => /** @type {Card} */ (cards[n]);
  return compare ? numbers.sort((one, other) => compare(card(one), card(other))) : numbers;
}
