import assert from 'node:assert/strict';
import test from 'node:test';
import { facets, filter, fold, ordered, parseQuery, Table } from '../src/search.js';

const NONE = { sign: '', note: '', at: '' };
const CARDS = [
  { id: 'a', row: 'a', state: 'stored', ending: 'mp4', model: 'v5', prompt: 'A café at dawn', labels: [['campaign', 'rain'], ['__proto__', 'x']], at: 300, cost: 0.2 },
  { id: 'b', row: 'b10', state: 'stored', ending: 'mp4', model: 'v6', prompt: 'Großer Hund', labels: [['campaign', 'snow']], at: 200, cost: 0.9 },
  { id: 'c', row: 'b9', state: 'failed', reason: 'moderated', model: 'v6', prompt: 'A dog at dawn', labels: [], at: 100 },
  { id: 'd', row: 'd', state: 'new' },
];
const TABLE = new Table(CARDS, (id) => id === 'b');
const run = (query, filters = {}, markOf = () => NONE) => filter(TABLE, { query, filters: new Map(Object.entries(filters)) }, markOf);
const ids = (query, filters = {}, markOf = () => NONE) => run(query, filters, markOf).cards.map((card) => card.id);

test('all words, phrases and words to leave out, without accents and case', () => {
  assert.deepEqual(ids('CAFE'), ['a']);
  assert.deepEqual(ids('dawn'), ['a', 'c']);
  assert.deepEqual(ids('dawn a'), ['a', 'c']);
  assert.deepEqual(ids('"at dawn" -dog'), ['a']);
  assert.deepEqual(ids('"dawn at"'), []);
  assert.deepEqual(ids('grosser'), ['b']);
  assert.deepEqual(ids('-"a dog" -v5'), ['b', 'd']);
  assert.deepEqual(ids('"dawn a'), [], 'no phrase reaches over the end of the prompt');
  assert.deepEqual(ids('moderated'), ['c']);
  assert.deepEqual(ids('snow'), ['b']);
  assert.deepEqual(ids('  - "" '), ['a', 'b', 'c', 'd'].filter((id) => CARDS.find((card) => card.id === id).prompt?.includes('-')));
  assert.equal(fold('ÀÉß'), 'aess');
  assert.deepEqual(parseQuery('-x'), [{ text: 'x', without: true }]);
});

test('a value counts the cards that fit all other facets, so that the counts are what a click gives', () => {
  for (const filters of [{}, { state: ['stored'] }, { state: ['stored'], model: ['v6'] }, { 'label:campaign': ['rain', 'snow'] }, { mark: ['unmarked'] }]) {
    const { counts } = run('a', filters);
    for (const [facet, values] of counts) {
      for (const [value, count] of values) assert.equal(count, ids('a', { ...filters, [facet]: [value] }).length, `${facet} ${value}`);
    }
  }
});

test('a value of which nothing is left stays in the list, with 0', () => {
  const { counts } = run('grosser');
  assert.equal(counts.get('state')?.get('failed'), 0);
  assert.equal(counts.get('label:__proto__')?.get('x'), 0);
});

test('marks are counted as they are now', () => {
  const markOf = (id) => (id === 'a' ? { sign: 'pick', note: 'good', at: '' } : NONE);
  const { counts } = run('', {}, markOf);
  assert.deepEqual(Object.fromEntries(counts.get('mark') ?? []), { pick: 1, 'with a note': 1, unmarked: 3 });
  assert.deepEqual(ids('', { mark: ['pick'] }, markOf), ['a']);
});

test('facets and values stand in an order that does not jump', () => {
  const { counts } = run('');
  assert.deepEqual(facets(counts), ['state', 'model', 'checks', 'mark', 'label:campaign', 'label:__proto__', 'day']);
  const few = run('grosser').counts;
  const names = (facet) => ordered(facet, few.get(facet), counts.get(facet)).map(([value]) => value);
  assert.deepEqual(names('model'), ['v6', 'v5']);
  assert.deepEqual(names('state'), ['stored', 'new', 'failed']);
});

test('orders', () => {
  const by = (sort) => filter(TABLE, { sort }, () => NONE).cards.map((card) => card.id);
  assert.deepEqual(by('newest'), ['a', 'b', 'c', 'd']);
  assert.deepEqual(by('oldest'), ['c', 'b', 'a', 'd']);
  assert.deepEqual(by('row'), ['a', 'c', 'b', 'd']);
  assert.deepEqual(by('dearest'), ['b', 'a', 'c', 'd']);
  assert.deepEqual(by('constructor'), ['a', 'b', 'c', 'd']);
});
