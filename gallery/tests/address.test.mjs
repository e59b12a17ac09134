import assert from 'node:assert/strict';
import test from 'node:test';
import { clipAddress, compareAddress, parse, sheetAddress } from '../src/address.js';

const ODD = ['a%2Fb/0123456789ab-t1/0', "it's (1)!*&#?%/0123456789ab-t2-a3/1", 'zwölf, 12/0123456789ab-t1/0', '%'];

test('an id goes into an address and comes back as it was', () => {
  for (const id of ODD) assert.deepEqual(parse(clipAddress(id)).ids, [id]);
  assert.deepEqual(parse(compareAddress(ODD)).ids, ODD);
});

test('the address of a sheet has its search, filters and order, and nothing where there is nothing to say', () => {
  assert.equal(sheetAddress({}), '#/');
  const filters = new Map([['state', ['failed', 'unknown']], ['label:campaign & co', ['a=b', 'ü']]]);
  const address = sheetAddress({ query: '"a b" -c', filters, sort: 'prompt' });
  const place = parse(address);
  assert.deepEqual([place.page, place.query, place.sort], ['sheet', '"a b" -c', 'prompt']);
  assert.deepEqual(place.filters, filters);
});

test('an address that cannot be read is unknown, and nothing is raised', () => {
  for (const hash of ['#/clip/%E0%A4%A', '#/nowhere', '#clip', '#/compare/%', '#//']) assert.equal(parse(hash).page, 'unknown');
  assert.equal(parse('').page, 'sheet');
  assert.equal(parse('#/?sort=__proto__&q=').sort, 'newest');
});
