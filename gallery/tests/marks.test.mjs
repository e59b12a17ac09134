import assert from 'node:assert/strict';
import test from 'node:test';
import { read, parse, write } from '../src/csv.js';
import { Marks } from '../src/marks.js';

/** What a browser keeps. */
class Kept {
  constructor() {
    this.values = new Map();
    this.full = false;
  }
  getItem(key) {
    return this.values.get(key) ?? null;
  }
  setItem(key, value) {
    if (this.full) throw new Error('QuotaExceededError');
    this.values.set(key, value);
  }
}

const NOTES = ['=1+1', "'=1+1", "''-x", '-5', '@x', '\tx', 'a, "b"; c', 'two\r\nlines', "it's", '', 'ünï 🎻'];
const marked = NOTES.map((note, n) => ({ card: { id: `-5/0123456789ab-t1/${n}`, row: '-5', state: 'stored', model: 'v5' }, clip: `films/clips/-5/0123456789ab-t1/${n}`, mark: { sign: 'pick', note, at: '2026-01-01T00:00:00.000Z' } }));

test('what is exported comes back as it was, and no cell is computed by a spreadsheet', () => {
  const text = write(marked);
  assert.ok(text.startsWith('\uFEFFrow,take,attempt,output,clip,mark,note,model,marked_at\r\n'));
  const [, ...records] = parse(text);
  assert.ok(records.flat().every((value) => !/^[=+\-@\t\r]/.test(value)));
  assert.deepEqual(read(text), marked.map(({ clip, mark }) => ({ clip, mark })));
});

test('a file that a spreadsheet has saved with semicolons is read, and one without the columns is not', () => {
  const [one] = read('\uFEFFclip;Mark;note;marked_at\r\n"films/clips/a/b/0";Pick;x;01.02.2026 10:00\r\n') ?? [];
  assert.deepEqual(one, { clip: 'films/clips/a/b/0', mark: { sign: 'pick', note: 'x', at: '' } });
  assert.equal(read('a,b\n1,2\n'), null);
  assert.equal(read(''), null);
});

test('marks are kept under the store and the pipeline, and are there again', () => {
  const kept = new Kept();
  const marks = new Marks('store', 'films', kept);
  marks.set('a', 'pick');
  marks.note('a', ' good ');
  marks.set('__proto__', 'reject');
  assert.deepEqual([...kept.values.keys()], ['store/films']);
  const again = new Marks('store', 'films', kept);
  assert.deepEqual([again.get('a').sign, again.get('a').note, again.get('__proto__').sign], ['pick', 'good', 'reject']);
  assert.deepEqual(again.counts(), { picks: 1, rejects: 1, all: 2 });
  assert.equal(new Marks('store', 'other', kept).counts().all, 0);
  again.toggle('a', 'pick');
  again.note('a', '');
  assert.equal(new Marks('store', 'films', kept).counts().all, 1);
});

test('two pages of one gallery lose no mark of each other', () => {
  const kept = new Kept();
  const [one, other] = [new Marks('s', 'p', kept), new Marks('s', 'p', kept)];
  one.set('a', 'pick');
  other.set('b', 'reject');
  one.set('c', 'pick');
  assert.deepEqual(new Marks('s', 'p', kept).counts(), { picks: 2, rejects: 1, all: 3 });
});

test('where nothing is kept, or no room is left, the marks stay on the page and are known to be unsaved', () => {
  const refused = new Marks('s', 'p', null);
  assert.deepEqual([refused.refused, refused.unsaved], [true, false]);
  refused.set('a', 'pick');
  refused.set('b', 'pick');
  assert.deepEqual([refused.unsaved, refused.counts().picks], [true, 2]);
  refused.exported();
  assert.equal(refused.unsaved, false);
  const kept = new Kept();
  const marks = new Marks('s', 'p', kept);
  marks.set('a', 'pick');
  kept.full = true;
  marks.set('b', 'reject');
  marks.set('c', 'reject');
  assert.deepEqual([marks.unsaved, marks.counts().all], [true, 3]);
  kept.full = false;
  marks.set('d', 'pick');
  assert.deepEqual([marks.unsaved, new Marks('s', 'p', kept).counts().all], [false, 4]);
});

test('marks that could not be kept are not lost when another page keeps its own, and theirs neither', () => {
  const kept = new Kept();
  const marks = new Marks('s', 'p', kept);
  marks.set('cleared', 'pick');
  kept.full = true;
  marks.set('own', 'pick');
  marks.set('cleared', '');
  kept.full = false;
  new Marks('s', 'p', kept).set('theirs', 'reject');
  marks.heard({ storageArea: kept, key: 's/p' });
  assert.deepEqual(marks.entries().map(([id]) => id).sort(), ['own', 'theirs']);
  marks.set('last', 'pick');
  assert.equal(marks.unsaved, false);
  assert.deepEqual(new Marks('s', 'p', kept).entries().map(([id]) => id).sort(), ['last', 'own', 'theirs']);
});

test('marks from a file are taken, but a later one of this browser stays', () => {
  const marks = new Marks('s', 'p', new Kept());
  marks.set('a', 'pick');
  const later = { sign: 'reject', note: '', at: '2999-01-01T00:00:00.000Z' };
  const earlier = { sign: 'reject', note: '', at: '2001-01-01T00:00:00.000Z' };
  assert.deepEqual(marks.merge([['a', earlier], ['b', earlier]]), { taken: 1, kept: 1 });
  assert.deepEqual([marks.get('a').sign, marks.get('b').sign], ['pick', 'reject']);
  marks.merge([['a', later]]);
  assert.equal(marks.get('a').sign, 'reject');
});
