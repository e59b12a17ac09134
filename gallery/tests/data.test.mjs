import assert from 'node:assert/strict';
import test from 'node:test';
import { Gallery, Snapshot } from '../src/data.js';

const card = (id, at, more = {}) => ({ id, row: id, state: 'stored', ending: 'mp4', at, ...more });

/** What the page has after it read these files. */
function read(chunks, { open = [], ...more } = {}) {
  const index = {
    format: 1, name: 'films', store: 's', revision: JSON.stringify(chunks), app: 'a', open: 'c-open', open_details: ['d-open'],
    chunks: chunks.map((cards, n) => ({ cards: `c-${n}`, count: cards.length, details: [`d-${n}-0`, `d-${n}-1`] })), ...more,
  };
  const snapshot = new Snapshot(index);
  chunks.forEach((cards, n) => snapshot.files.set(`c-${n}`, cards));
  snapshot.files.set('c-open', open);
  return snapshot;
}

const ids = (snapshot) => snapshot.cards().map(({ id }) => id);

test('cards are newest first, rows that were never claimed last', () => {
  assert.deepEqual(ids(read([[card('a', 1), card('b', 2)], [card('c', 3)]], { open: [card('d', 4), card('e')] })), ['d', 'c', 'b', 'a', 'e']);
});

test('a clip that comes late stands at its time, and moves no other against its neighbours', () => {
  const before = ids(read([[card('a', 10), card('b', 20)], [card('c', 30), card('d', 30)]]));
  const after = ids(read([[card('a', 10), card('b', 20)], [card('c', 30), card('d', 30), card('late', 15)]]));
  assert.deepEqual(after.filter((id) => id !== 'late'), before);
  assert.equal(after.indexOf('late'), after.indexOf('a') - 1);
});

test('an id that is in two files is shown once, as the newer one has it', () => {
  const [only] = read([[card('a', 1, { cost: 1 })], [card('a', 1, { cost: 2 })]]).cards();
  assert.equal(only.cost, 2);
});

test('details are asked for where the card says, else by its place, then in the other files of its chunk', () => {
  const chunk = Array.from({ length: 150 }, (_, n) => card(`r${n}`, n));
  const snapshot = read([chunk, [card('x', 900, { d: 1 })]], { open: [card('o')] });
  assert.deepEqual(snapshot.detailFiles('r3'), ['d-0-0', 'd-0-1']);
  assert.deepEqual(snapshot.detailFiles('r120'), ['d-0-1', 'd-0-0']);
  assert.deepEqual(snapshot.detailFiles('x'), ['d-1-1', 'd-1-0']);
  assert.deepEqual(snapshot.detailFiles('o'), ['d-open']);
  assert.deepEqual(snapshot.detailFiles('nowhere'), []);
});

test('what is new is counted and shown only when it is asked for', () => {
  const gallery = new Gallery(read([[card('a', 1)]], { open: [{ id: 'b', row: 'b', state: 'rendering' }] }));
  gallery.refresh();
  assert.deepEqual(gallery.news, { clips: 0, any: false });
  gallery.next = read([[card('a', 1), card('c', 3)], [card('d', 4)]], { app: 'newer' });
  assert.deepEqual(gallery.news, { clips: 2, any: true });
  assert.deepEqual(gallery.cards.map(({ id }) => id), ['a', 'b']);
  assert.equal(gallery.showNews(), true);
  assert.deepEqual(gallery.cards.map(({ id }) => id), ['d', 'c', 'a']);
  assert.deepEqual(gallery.news, { clips: 0, any: false });
});

test('the key of a clip has the folder where it lies', () => {
  const gallery = new Gallery(read([]));
  assert.equal(gallery.clipKey(card('r/x-t1/0')), 'films/clips/r/x-t1/0');
  assert.equal(gallery.clipKey(card('r/x-t1/0', 1, { tree: 'old' })), 'old/clips/r/x-t1/0');
});
