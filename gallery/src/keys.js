/** Keys: how one is named, and what all of them do. */
import { element } from './dom.js';

/**
 * The name of a key, such as `P`, `Shift+P`, `Space`, `ArrowLeft`, `?`; empty where a person is writing, or where the
 * browser's own shortcuts are meant. Letter keys are only asked for on a focused card or its page.
 * @param {KeyboardEvent} event
 */
export function keyName(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing || event.defaultPrevented) return '';
  if (isWriting(event.target)) return '';
  if (event.key === ' ') return 'Space';
  if (event.key.length !== 1 || !/\p{L}/u.test(event.key)) return event.key;
  // On a keyboard of another script, the key that has the Latin letter.
  const letter = /[a-z]/i.test(event.key) ? event.key : (/^Key([A-Z])$/.exec(event.code)?.[1] ?? event.key);
  return `${event.shiftKey ? 'Shift+' : ''}${letter.toUpperCase()}`;
}

/** @param {EventTarget|null} target */
export function isWriting(target) {
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement) return true;
  return target instanceof HTMLInputElement && !['checkbox', 'radio', 'button', 'range'].includes(target.type);
}

/**
 * Whether Space means something to what has the focus: a button, a link, a choice, or the browser's own player.
 * @param {EventTarget|null} target
 */
export function isControl(target) {
  return target instanceof Element && target.closest('button, a[href], select, summary, video, input[type="checkbox"]') !== null;
}

/** @type {[string, string][]} */
export const KEYS = [
  ['Arrows, Home, End, Page up, Page down', 'move'],
  ['Space', 'play, stop'],
  ['Enter, Esc', 'open; back to the same card'],
  ['P, X, U', 'pick, reject, clear'],
  ['Shift+P, Shift+X', 'the same, and on to the next'],
  ['N', 'note'],
  ['C', 'choose for comparing, six at most'],
  ['Shift+C', 'compare the chosen, or all of this prompt'],
  ['1 to 6', 'side by side: pick that one'],
  [', and .', 'a frame back, a frame on'],
  ['J, K', 'on a clip’s page: next, previous'],
  ['/', 'search'],
  ['?', 'this list'],
];

/** The list of keys, as a dialog. */
export function showKeys() {
  const close = element('button', { type: 'button', on: { click: () => dialog.close() } }, 'Close');
  const dialog = element(
    'dialog',
    { class: 'keys', 'aria-labelledby': 'keys-title', on: { close: () => dialog.remove() } },
    element('h2', { id: 'keys-title' }, 'Keys'),
    element('dl', {}, KEYS.map(([keys, what]) => element('div', {}, element('dt', {}, keys), element('dd', {}, what)))),
    close,
  );
  document.body.append(dialog);
  dialog.showModal();
}
