import assert from 'node:assert/strict';
import test from 'node:test';
import { measure, MOST_PIXELS, target } from '../src/rows.js';

test('cards are about as wide as wished, two beside each other on a phone, and never wider than the list', () => {
  for (const width of [120, 300, 370, 560, 900, 1192, 2500]) {
    for (const size of [150, 280, 560]) {
      const { columns, width: card, row } = measure(width, size, 16);
      assert.ok(columns >= 1 && card * columns + 14 * (columns - 1) <= width + 0.001, `${width} ${size}`);
      assert.ok(card >= Math.min(width, size) * 0.8 || width < 560, `${width} ${size}: ${card}`);
      assert.ok(row > 0 && MOST_PIXELS / row > 1000);
    }
  }
  assert.equal(measure(370, 280, 16).columns, 2);
  assert.equal(measure(370, 560, 16).columns, 1);
});

test('keys lead to a card that is there, wherever they are pressed', () => {
  for (const count of [1, 2, 7, 5000]) {
    for (const columns of [1, 2, 5]) {
      for (const current of [0, Math.floor(count / 2), count - 1]) {
        for (const key of ['ArrowLeft', 'ArrowRight', 'ArrowUp', 'ArrowDown', 'PageUp', 'PageDown', 'Home', 'End']) {
          const to = target(key, { current, count, columns, rows: 3 });
          assert.ok(to !== null && to >= 0 && to < count, `${key} from ${current} of ${count}: ${to}`);
        }
      }
    }
  }
});

test('Home and End lead to the first and the last card, down from a full row into a shorter last one', () => {
  const at = { current: 4, count: 7, columns: 5, rows: 2 };
  assert.equal(target('Home', at), 0);
  assert.equal(target('End', at), 6);
  assert.equal(target('ArrowDown', at), 6);
  assert.equal(target('ArrowUp', at), 4);
  assert.equal(target('ArrowRight', at), 5);
  assert.equal(target('ArrowLeft', { ...at, current: 0 }), 0);
  assert.equal(target('ArrowRight', { ...at, current: 6 }), 6);
  assert.equal(target('PageDown', { ...at, count: 100 }), 14);
  assert.equal(target('PageUp', { ...at, current: 8 }), 3);
  for (const key of ['P', 'Enter', 'constructor']) assert.equal(target(key, at), null);
});
