/** Which clips of a prompt are compared, and what a clip is called. */
import { MOST } from './chosen.js';
import { commonPrefix, stateWord } from './words.js';

/** @typedef {import('./types.js').Card} Card */

/**
 * Six at most: the first one, and of the others a clip of each model in turn, so that no model stands for all.
 * @param {Card} first @param {Card[]} cards
 */
export function spread(first, cards) {
  /** @type {Map<string, Card[]>} */
  const models = new Map([[first.model ?? '', []]]);
  for (const card of cards) {
    if (card.id === first.id) continue;
    models.set(card.model ?? '', [...(models.get(card.model ?? '') ?? []), card]);
  }
  // The first one has had its model's turn.
  const [own = [], ...others] = models.values();
  const queues = [...others, own];
  const taken = [first];
  while (taken.length < MOST && queues.some((queue) => queue.length > 0)) {
    for (const queue of queues) {
      const next = queue.shift();
      if (next && taken.length < MOST) taken.push(next);
    }
  }
  return taken;
}

/**
 * The models of some clips, as short as tells them apart: without the provider where that is no difference, and without what all begin with.
 * @param {Card[]} cards
 * @returns {(card: Card) => string}
 */
export function shortModels(cards) {
  const models = [...new Set(cards.flatMap((card) => card.model ?? []))];
  const names = models.map((model) => model.slice(model.lastIndexOf('/') + 1));
  const prefix = commonPrefix(names);
  const short = new Map(
    models.map((model, place) => {
      const name = names[place] ?? '';
      const alike = names.filter((other) => other === name).length > 1;
      return [model, (alike ? model.slice(0, -name.length) : '') + (name.slice(prefix.length) || name)];
    }),
  );
  return (card) => short.get(card.model ?? '') || card.model || card.row;
}

/** `take 2`, `take 2, attempt 3, clip 2`: what tells clips of one row and model apart. @param {Card} card */
export function takeWords(card) {
  const output = /\/([0-9]+)$/.exec(card.id)?.[1] ?? '1';
  return [
    card.take === undefined ? '' : `take ${card.take}`,
    (card.attempt ?? 1) > 1 ? `attempt ${card.attempt}` : '',
    output === '1' || !card.ending ? '' : `clip ${output}`,
  ]
    .filter(Boolean)
    .join(', ');
}

/** Row, take: the clip's name among all. @param {Card} card */
export const clipName = (card) => [card.row, takeWords(card) || stateWord(card.state)].filter(Boolean).join(' · ');

/** A name under which the clip is saved; every system takes it. @param {Card} card */
export function fileName(card) {
  const parts = card.id.split('/');
  const output = parts.at(-1) ?? '1';
  const take = `t${card.take ?? 1}${(card.attempt ?? 1) > 1 ? `-a${card.attempt}` : ''}`;
  const row = card.row.toWellFormed().replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069\\/:*?"<>|%]/g, '_').slice(0, 80);
  return `${row.replace(/^[. ]+/, '_') || 'clip'}-${take}${output === '1' ? '' : `-${output}`}.${card.ending}`;
}
