/** Side by side: what stays together, what is shuffled, how large it is. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Blind, draw, letter, shuffled } from '../src/blind.js';
import { columns } from '../src/columns.js';
import { fileName, shortModels, spread, takeWords } from '../src/group.js';
import { history, outcome } from '../src/timeline.js';
import { AHEAD_SECONDS, awaits, CLOSE_SECONDS, FAR_SECONDS, frame, rate, RATE_SHARE } from '../src/pace.js';

test('a clip that is close keeps its rate, one that is off follows by at most its share, one far off is moved', () => {
  for (const base of [0.25, 1, 2]) {
    for (let drift = -0.6; drift < 0.6; drift += 0.001) {
      const next = rate(drift, base, false);
      if (Math.abs(drift) > FAR_SECONDS) assert.equal(next, null);
      else if (Math.abs(drift) <= CLOSE_SECONDS) assert.equal(next, base);
      else {
        assert.ok(next !== null && Math.abs(next / base - 1) <= RATE_SHARE + 1e-9);
        assert.ok(drift > 0 ? next < base : next > base, `${drift}`);
      }
    }
  }
});

test('what is being corrected is corrected to well within the limit', () => {
  assert.notEqual(rate(0.025, 1, true), 1);
  assert.equal(rate(0.025, 1, false), 1);
  assert.equal(rate(0.009, 1, true), 1);
});

test('a clip that is ahead waits until they are together; one that is behind never waits', () => {
  assert.deepEqual([awaits(AHEAD_SECONDS + 0.001, false), awaits(AHEAD_SECONDS - 0.001, false)], [true, false]);
  assert.deepEqual([awaits(0.05, true), awaits(0.005, true), awaits(-0.2, false), awaits(FAR_SECONDS + 0.1, false)], [true, false, false, false]);
});

test('frames are counted one by one, there and back, at every rate of frames', () => {
  for (const fps of [12, 23.976, 24, 25, 29.97, 30, 50, 60]) {
    let position = 0;
    for (let count = 1; count <= 300; count += 1) {
      position = frame(position, 1, fps);
      assert.equal(Math.floor(position * fps), count);
    }
    for (let count = 299; count >= 0; count -= 1) {
      position = frame(position, -1, fps);
      assert.equal(Math.floor(position * fps), count);
    }
    assert.ok(frame(0, -1, fps) >= 0);
  }
});

test('every order of a blind comparison is as likely as the other', () => {
  // All that three choices can be: each order comes once.
  /** @type {string[]} */
  const orders = [];
  for (let first = 0; first < 3; first += 1) {
    for (let second = 0; second < 2; second += 1) {
      const choices = [first, second];
      orders.push(shuffled(['a', 'b', 'c'], () => choices.shift() ?? 0).join(''));
    }
  }
  assert.deepEqual(orders.sort(), ['abc', 'acb', 'bac', 'bca', 'cab', 'cba']);
  assert.deepEqual(shuffled([1, 2, 3, 4, 5, 6]).sort(), [1, 2, 3, 4, 5, 6]);
  for (let times = 0; times < 200; times += 1) assert.ok([0, 1, 2].includes(draw(3)));
});

test('a blind comparison shows the marks that were given in it, and no others', () => {
  const blind = new Blind();
  assert.ok(blind.showsMark('a') && !blind.letters);
  assert.deepEqual(blind.begin(['a', 'b']).sort(), ['a', 'b']);
  assert.ok(blind.hides && blind.letters && !blind.showsMark('a'));
  blind.mark('a');
  assert.deepEqual([blind.showsMark('a'), blind.showsMark('b')], [true, false]);
  blind.reveal();
  assert.deepEqual([blind.hides, blind.letters, blind.showsMark('b')], [false, true, true]);
  blind.begin(['a', 'b']);
  assert.ok(!blind.showsMark('a'));
  blind.end();
  assert.deepEqual([blind.stage, letter(0), letter(5)], ['off', 'A', 'F']);
});

test('as many columns as show the clips the largest', () => {
  const wide = { width: 1400, height: 700, caption: 60 };
  assert.equal(columns({ ...wide, count: 1, aspect: 16 / 9 }).columns, 1);
  assert.equal(columns({ ...wide, count: 2, aspect: 16 / 9 }).columns, 2);
  assert.equal(columns({ ...wide, count: 4, aspect: 16 / 9 }).columns, 2);
  assert.equal(columns({ ...wide, count: 6, aspect: 16 / 9 }).columns, 3);
  assert.equal(columns({ ...wide, count: 4, aspect: 9 / 16 }).columns, 4);
  for (const count of [1, 2, 3, 4, 5, 6]) {
    for (const aspect of [0.5, 1, 2.4]) {
      const { columns: chosen, media } = columns({ width: 362, height: 420, caption: 64, count, aspect });
      assert.ok(chosen >= 1 && chosen <= Math.min(count, 2) && media >= 80);
    }
  }
});

/** @param {string} id @param {string} model @param {object} [more] */
const card = (id, model, more = {}) => ({ id, row: id, state: 'stored', model, ending: 'mp4', ...more });

test('of many clips of a prompt each model is compared, the one at hand first', () => {
  const cards = [...'abcdefgh'].map((id) => card(id, id < 'g' ? 'one' : 'two'));
  const first = /** @type {any} */ (cards[2]);
  assert.deepEqual(spread(first, cards).map(({ id }) => id), ['c', 'g', 'a', 'h', 'b', 'd']);
  assert.deepEqual(spread(first, [first]), [first]);
});

test('a clip is saved under a name that every system takes', () => {
  assert.equal(fileName(card('a%2Fb/0123456789ab-t2-a3/2', 'm', { row: 'a/b', take: 2, attempt: 3 })), 'a_b-t2-a3-2.mp4');
  assert.equal(fileName(card('x/0-t1/1', 'm', { row: '..\u202egpj.exe:*?"<>|', take: 1 })), '__gpj.exe_______-t1.mp4');
  assert.equal(takeWords(card('x/0-t1-a2/2', 'm', { take: 1, attempt: 2 })), 'take 1, attempt 2, clip 2');
});

test('models are as short as tells them apart', () => {
  const named = (/** @type {string[]} */ ...models) => models.map((model) => shortModels(models.map((one) => card(one, one)))(card(model, model)));
  assert.deepEqual(named('a/pixverse-v5', 'b/pixverse-v5-fast'), ['v5', 'v5-fast']);
  assert.deepEqual(named('a/pixverse-v5', 'b/pixverse-v5', 'a/pixverse-v4'), ['a/v5', 'b/v5', 'v4']);
  assert.deepEqual(named('a/pixverse-v5'), ['pixverse-v5']);
  assert.equal(shortModels([])({ id: 'r', row: 'r', state: 'new' }), 'r');
});

test('a step that went badly, or is open, is told apart by a word; the row stands first, the digest last', () => {
  assert.deepEqual(['attempt 1 failed (moderated)', 'submit refused', 'unknown', 'attempt 2 accepted', 'stored'].map((what) => outcome({ what })), [
    'bad',
    'bad',
    'open',
    'good',
    'good',
  ]);
  const steps = history(card('a', 'm'), { digest: 'd1', sha256: 's1', steps: [{ what: 'submit sent' }, { what: 'stored', at: 1 }] });
  assert.deepEqual(steps.map(({ what, text }) => [what, text]), [
    ['row a of the prompt table', 'request d1'],
    ['submit sent', undefined],
    ['stored', 'sha256 s1'],
  ]);
  assert.equal(history(card('a', 'm'), {}).length, 1);
});
