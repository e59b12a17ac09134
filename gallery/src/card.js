/** A card: a clip, or a row without one, as a cell of the grid. */
import { clipAddress } from './address.js';
import { element, fill, foreign, set } from './dom.js';
import { pageLink } from './links.js';
import { cost, length, stateWord } from './words.js';

/** @typedef {import('./types.js').App} App */
/** @typedef {import('./types.js').Card} Card */

const SIGNS = { pick: '✓ pick', reject: '✗ reject', '': '' };

/**
 * What is said of a card to those who do not see it.
 * @param {App} app
 * @param {Card} card
 */
export function label(app, card) {
  const mark = app.marks.get(card.id);
  const parts = [
    card.prompt?.slice(0, 200) ?? `row ${card.row}`,
    card.model,
    `take ${card.take ?? 1}`,
    stateWord(card.state),
    card.reason,
    card.seconds === undefined ? null : `${Number(card.seconds.toFixed(1))} seconds`,
    card.audio ? 'with sound' : null,
    card.ending ? (card.cost === undefined ? 'cost unknown' : cost(card)) : null,
    app.gallery.failedChecks(card.id).length ? 'check failed' : null,
    mark.sign === 'pick' ? 'picked' : mark.sign === 'reject' ? 'rejected' : null,
    mark.note ? `note: ${mark.note}` : null,
    app.chosen.has(card.id) ? 'chosen for comparing' : null,
  ];
  return parts.filter(Boolean).join(', ');
}

/**
 * @param {App} app
 * @param {Card} card
 * @param {string} prefix What all models begin with.
 */
export function makeCard(app, card, prefix) {
  const cell = element(
    'div',
    { class: 'card', role: 'gridcell', tabindex: -1, 'data-id': card.id, 'data-state': card.state },
    card.ending ? picture(app, card) : words(card),
    element(
      'div',
      { class: 'text' },
      foreign('a', card.prompt ?? card.row, { class: 'prompt', href: pageLink(clipAddress(card.id)), tabindex: -1 }),
      element(
        'p',
        { class: 'facts' },
        element('span', { class: 'model' }, (card.model ?? '').slice(prefix.length)),
        (card.take ?? 1) > 1 && element('span', {}, `take ${card.take}`),
        card.ending && element('span', { class: 'cost' }, cost(card)),
      ),
    ),
  );
  paint(app, card, cell);
  return cell;
}

/** Shows the mark, the choice and the check of a card: nothing else of it changes. @param {App} app @param {Card} card @param {HTMLElement} cell */
export function paint(app, card, cell) {
  const mark = app.marks.get(card.id);
  const signs = cell.querySelector('.signs');
  if (signs) {
    fill(
      signs,
      mark.sign && element('span', { class: `sign ${mark.sign}` }, SIGNS[mark.sign]),
      mark.note && element('span', { class: 'sign note', title: mark.note }, '✎ note'),
      app.gallery.failedChecks(card.id).length > 0 && element('span', { class: 'sign failed' }, 'check failed'),
    );
  }
  set(cell, 'data-mark', mark.sign || null);
  set(cell, 'data-chosen', app.chosen.has(card.id) || null);
  set(cell, 'aria-selected', String(app.chosen.has(card.id)));
  set(cell, 'aria-label', label(app, card));
}

/** @param {App} app @param {Card} card */
function picture(app, card) {
  const poster = element('div', { class: 'poster' });
  const thumb = app.links.thumb(card);
  const missing = (/** @type {string} */ text) => element('p', { class: 'missing' }, text);
  const sound = card.audio ? '♪ ' : '';
  fill(
    poster,
    app.links.ended()
      ? missing('Link ended')
      : thumb
        ? element('img', { src: thumb, alt: '', decoding: 'async', draggable: 'false', on: { error: lost } })
        : missing('No picture'),
    element('div', { class: 'signs' }),
    (card.seconds !== undefined || card.audio) && element('span', { class: 'length' }, `${sound}${length(card.seconds)}`),
  );
  return poster;

  /** @param {Event} event */
  function lost(event) {
    /** @type {HTMLElement} */ (event.target).replaceWith(missing(app.links.ended() ? 'Link ended' : 'Picture missing'));
  }
}

/** @param {Card} card */
function words(card) {
  return element(
    'div',
    { class: 'poster without' },
    element('div', { class: 'signs' }),
    element('p', { class: 'state' }, stateWord(card.state)),
    card.reason && foreign('p', card.reason, { class: 'reason' }),
  );
}
