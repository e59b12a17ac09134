/** What has to be said above all pages: links that end, marks that nobody keeps, data that is missing. */
import { element, fill } from './dom.js';
import { exportMarks } from './marking.js';
import { counted } from './words.js';

/** @typedef {import('./types.js').App} App */

const EVERY_MS = 30_000;

/** How long links still work, in words. @param {number} seconds */
export function remaining(seconds) {
  if (seconds >= 172_800) return counted(Math.floor(seconds / 86_400), 'day');
  if (seconds >= 7200) return counted(Math.floor(seconds / 3600), 'hour');
  return counted(Math.max(1, Math.floor(seconds / 60)), 'minute');
}

/** @param {App} app @param {number} now Seconds since 1970. */
function linkNotice(app, now) {
  const { until, presigned } = app.links;
  if (until === null) return null;
  if (app.links.ended(now)) {
    return element('p', { class: 'notice warn' }, 'The links of this file have ended: nothing plays. New ones: ', element('code', {}, presigned?.command), ' Your marks stay.');
  }
  return element('p', { class: 'notice' }, `Clips and pictures can be seen for ${remaining(until - now)} more, by whoever has this file.`);
}

/** @param {App} app */
function markNotice(app) {
  if (!app.marks.refused && !app.marks.unsaved) return null;
  const text = app.marks.refused
    ? 'This browser keeps no marks for this page: export them before you leave.'
    : 'This browser has no room left for marks: export them before you leave.';
  return element('p', { class: 'notice warn' }, text, ' ', app.marks.unsaved && element('button', { type: 'button', on: { click: () => exportMarks(app) } }, 'Export CSV'));
}

/** @param {App} app */
function dataNotice(app) {
  const { missing } = app.gallery.snapshot;
  if (missing === 0) return null;
  return element('p', { class: 'notice warn' }, `${counted(missing, 'file')} of this gallery's data cannot be read, so clips are missing here. They are still in the store: write the gallery again.`);
}

/** A place for notices that is kept up to date. @param {App} app */
export function makeNotices(app) {
  const place = element('div', { class: 'notices' });
  let ended = app.links.ended();
  const draw = () => {
    fill(place, linkNotice(app, Date.now() / 1000), markNotice(app), dataNotice(app));
    if (!ended && app.links.ended()) {
      ended = true;
      // The tiles say it as well.
      app.gallery.dispatchEvent(new Event('cards'));
    }
  };
  app.marks.addEventListener('change', draw);
  app.gallery.addEventListener('cards', draw);
  if (app.links.until !== null) setInterval(draw, EVERY_MS);
  draw();
  return place;
}
