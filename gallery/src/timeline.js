/** How a clip came to be: one step after the other. */
import { element, foreign } from './dom.js';
import { cost, time } from './words.js';

/** @typedef {import('./types.js').Step} Step */

const BAD = /fail|refus|abandon|lost|expired|reject|moderat|forgot/i;
const OPEN = /unknown|waiting|dispute/i;
const SIGNS = { good: '✓', bad: '✗', open: '?' };

/** Whether a step went well, badly, or is open: a sign and a colour beside the words that say it. @param {Step} step */
export function outcome({ what }) {
  if (BAD.test(what)) return 'bad';
  return OPEN.test(what) ? 'open' : 'good';
}

/** An instant in the reader's own time; the exact one, in UTC, where the pointer rests. @param {number|undefined} at */
export function instant(at) {
  if (!at) return null;
  const shown = element('time', { title: new Date(at * 1000).toISOString() }, time(at));
  shown.dateTime = new Date(at * 1000).toISOString();
  return shown;
}

/**
 * The steps with what stands before the first and with the last: the row and its request, and the stored bytes.
 * @param {import('./types.js').Card} card @param {import('./types.js').Details} details
 * @returns {Step[]}
 */
export function history(card, { steps = [], digest, sha256 }) {
  const told = steps.map((step) => (step.what === 'stored' && !step.text && sha256 ? { ...step, text: `sha256 ${sha256}` } : step));
  const first = told[0]?.what ?? '';
  if (/^row\b/i.test(first)) return told;
  return [{ what: `row ${card.row} of the prompt table`, ...(digest ? { text: `request ${digest}` } : {}) }, ...told];
}

/** @param {Step[]} steps */
export function timeline(steps) {
  return element('ol', { class: 'timeline' }, steps.map(step));
}

/** What is said below a step; a task id alone says that it is one. @param {Step} step */
const text = ({ what, text = '' }) => (/accepted$/.test(what) && text ? `task ${text}` : text);

/** @param {Step} step */
function step(step) {
  const how = outcome(step);
  const what = step.what.slice(0, 1).toUpperCase() + step.what.slice(1);
  return element(
    'li',
    { class: `step ${how}` },
    element('span', { class: 'step-sign', 'aria-hidden': 'true' }, SIGNS[how]),
    element('div', { class: 'step-what' }, foreign('span', what), typeof step.cost === 'number' ? `, ${cost(step)}` : null),
    step.at ? element('div', { class: 'step-time' }, instant(step.at)) : null,
    step.text ? foreign('div', text(step), { class: 'step-text' }) : null,
  );
}
