/** The other clips of a prompt, to be added to a comparison. */
import { element, foreign } from './dom.js';
import { takeWords } from './group.js';

/** @typedef {import('./types.js').Card} Card */
/** @typedef {{links: import('./links.js').Links, model: (card: Card) => string, full: boolean, add: (card: Card) => void}} How */

/** @param {Card[]} cards @param {How} how */
export function alsoOf(cards, how) {
  if (cards.length === 0) return null;
  return [
    element('h2', {}, 'Also of this prompt'),
    how.full ? element('p', { class: 'quiet' }, 'Six at once: take one away to add another.') : null,
    element('ul', {}, cards.map((card) => element('li', {}, adder(card, how)))),
  ];
}

/** @param {Card} card @param {How} how */
function adder(card, { links, model, full, add }) {
  const thumb = links.ended() ? null : links.thumb(card);
  const none = () => element('span', { class: 'no-poster' });
  const gone = (/** @type {Event} */ { target }) => /** @type {Element} */ (target).replaceWith(none());
  return element(
    'button',
    { type: 'button', class: 'adder', disabled: full, title: `${card.model ?? card.row}, ${takeWords(card)}`, on: { click: () => add(card) } },
    thumb ? element('img', { src: thumb, alt: '', loading: 'lazy', decoding: 'async', on: { error: gone } }) : none(),
    foreign('span', [model(card), takeWords(card)].filter(Boolean).join(' · ')),
  );
}
