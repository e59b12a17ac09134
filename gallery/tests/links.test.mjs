import assert from 'node:assert/strict';
import test from 'node:test';
import { Links, runLink } from '../src/links.js';

const INDEX = { format: 1, name: 'films', store: 's', revision: 'r', app: 'a', base: '../' };
const CARD = { id: 'a%2Fb/0123456789ab-t1/0', row: 'a/b', state: 'stored', ending: 'mp4', thumb: '0123456789abcdef0123' };

test('a clip is beside the page, each sign of its name escaped once', () => {
  const links = new Links(INDEX);
  assert.equal(links.clip(CARD)?.address, '../clips/a%252Fb/0123456789ab-t1/0.mp4');
  assert.equal(links.clip({ ...CARD, tree: 'old name' })?.address, '../../old%20name/clips/a%252Fb/0123456789ab-t1/0.mp4');
  assert.equal(links.thumb(CARD)?.address, 'thumbs/0123456789abcdef0123.jpg');
  assert.equal(links.input({ thumb: `${'ab'.repeat(32)}-thumb.jpg` })?.address, `../images/${'ab'.repeat(32)}-thumb.jpg`);
  assert.equal(links.ended(9e9), false);
});

test('a page elsewhere on the machine goes the way back that it is given', () => {
  const links = new Links({ ...INDEX, base: '../.store/my%20clips/films/' });
  assert.equal(links.clip(CARD)?.address, '../.store/my%20clips/films/clips/a%252Fb/0123456789ab-t1/0.mp4');
  for (const base of ['//host/x/', '/etc/', 'file:///x/', 'a?b/', '']) assert.equal(new Links({ ...INDEX, base }).base, '../');
});

test('what would lead elsewhere has no address', () => {
  const links = new Links(INDEX);
  for (const id of ['../x/0', 'a//0', './0', 'a/../../0']) assert.equal(links.clip({ ...CARD, id }), null);
  assert.equal(links.clip({ ...CARD, ending: 'html' }), null);
  assert.equal(links.clip({ ...CARD, tree: '..' }), null);
  assert.equal(links.thumb({ ...CARD, thumb: '../../etc/passwd' }), null);
  assert.equal(links.input({ thumb: 'https://elsewhere.example/a.png' }), null);
  assert.equal(new Links({ ...INDEX, base: 'https://elsewhere.example/' }).clip(CARD)?.address, '../clips/a%252Fb/0123456789ab-t1/0.mp4');
});

test('a signature is put behind its address as it is, and links end', () => {
  const signed = { until: 100, command: 'c', origin: 'https://s.example', path: '/b/films/clips/', query: 'A=1%2F2', signature_name: 'S' };
  const links = new Links({ ...INDEX, links: signed });
  const signature = 'ab'.repeat(32);
  const card = { ...CARD, s: [signature, signature] };
  const start = 'https://s.example/b/films/clips/a%252Fb/0123456789ab-t1/0';
  assert.equal(links.clip(card)?.address, `${start}.mp4?A=1%2F2&S=${signature}`);
  assert.equal(links.thumb(card)?.address, `${start}.jpg?A=1%2F2&S=${signature}`);
  assert.equal(links.clip({ ...card, s: ['&x=1'] }), null);
  assert.equal(links.input({ thumb: `${'ab'.repeat(32)}-thumb.jpg`, s: signature })?.address, `https://s.example/b/films/images/${'ab'.repeat(32)}-thumb.jpg?A=1%2F2&S=${signature}`);
  assert.deepEqual([links.ended(99), links.ended(100)], [false, true]);
});

test('a run has an address where Dagster was named, and only on the web', () => {
  assert.equal(runLink('http://host:3000/sub/', 'a/b')?.address, 'http://host:3000/sub/runs/a%2Fb');
  for (const url of ['javascript:alert(1)', 'file:///x', '', null]) assert.equal(runLink(url, 'a'), null);
});
