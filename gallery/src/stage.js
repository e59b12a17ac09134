/** The player of one clip, or in words why there is none. */
import { element, fill, foreign } from './dom.js';
import { clipName } from './group.js';
import { stateWord } from './words.js';

/** @typedef {import('./types.js').App} App */
/** @typedef {import('./types.js').Card} Card */

/**
 * `video` is null where there is none to play.
 * @param {App} app @param {Card} card
 */
export function playerOf(app, card) {
  const stage = element('div', { class: 'stage' });
  stage.style.setProperty('--aspect', String(card.width && card.height ? card.width / card.height : 16 / 9));
  const address = app.links.clip(card);
  if (!card.ending) {
    stage.classList.add('empty');
    fill(stage, element('div', { class: 'no-clip' }, element('strong', {}, stateWord(card.state)), foreign('p', card.reason)));
  } else if (!address || app.links.ended()) {
    fill(stage, cannotPlay(app, card));
  } else {
    const video = element('video', {
      src: address,
      poster: app.links.thumb(card),
      controls: true,
      loop: true,
      playsinline: true,
      preload: 'auto',
      'aria-label': `Clip ${clipName(card)}`,
      // A player whose source was taken off has not failed.
      on: { error: () => video.hasAttribute('src') && fill(stage, cannotPlay(app, card)) },
    });
    fill(stage, video);
    return { stage, video };
  }
  return { stage, video: null };
}

/** @param {App} app @param {Card} card */
function cannotPlay({ links, gallery }, card) {
  if (links.ended()) {
    const command = element('code', {}, links.presigned?.command ?? '');
    return element('div', { class: 'no-clip', role: 'status' }, element('strong', {}, 'Link ended'), element('p', {}, 'New links are made with'), command);
  }
  const thumb = links.thumb(card);
  const gone = (/** @type {Event} */ { target }) => /** @type {Element} */ (target).remove();
  return [
    ...(thumb ? [element('img', { src: thumb, alt: '', class: 'faded', on: { error: gone } })] : []),
    element(
      'div',
      { class: 'no-clip', role: 'status' },
      element('strong', {}, 'This clip cannot be played'),
      element('p', {}, 'Its file is not at its place, or this browser cannot read it:'),
      foreign('code', `${gallery.clipKey(card)}.${card.ending}`),
    ),
  ];
}
