/** The start of the page: reads the gallery and shows the page that the address names. */
import { parse, sheetAddress } from './address.js';
import { Chosen } from './chosen.js';
import { Gallery } from './data.js';
import { element, fill } from './dom.js';
import { keyName, showKeys } from './keys.js';
import { pageLink } from './links.js';
import { listen } from './load.js';
import { Marks, storage } from './marks.js';
import { Settings } from './settings.js';
import './clip.js';
import './compare.js';
import { ClipBar } from './bar.js';
import { makeNotices } from './notices.js';
import { ClipSheet } from './sheet.js';
import { ClipTop } from './top.js';

/** @typedef {import('./types.js').App} App */
/** @typedef {HTMLElement & {app: App, ids: string[]}} Page What `<clip-page>` and `<clip-compare>` are given. */

const ASK_EVERY_MS = 60_000;
/** Browsers refuse addresses that change with each letter. */
const WRITE_AFTER_MS = 250;
const SHOWN_MS = 5_000;

const main = element('main', { id: 'main' });
const spoken = element('p', { class: 'spoken', role: 'status' });

const skip = element('a', { class: 'skip', href: pageLink('#main'), on: { click: toMain } }, 'Skip to the clips');

/** @param {Event} event */
function toMain(event) {
  event.preventDefault();
  const start = main.querySelector('.page h1') ?? main.querySelector('clip-grid');
  if (start instanceof HTMLElement) start.focus();
}

/** @type {ReturnType<typeof setTimeout>|undefined} */
let hiding;

/** @param {string} text */
function say(text) {
  fill(spoken, text);
  clearTimeout(hiding);
  hiding = setTimeout(() => fill(spoken), SHOWN_MS);
}

/** Shows what the address names. The sheet stays where it is below the others, so that Esc leads to the same card. */
class Router {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.sheet = new ClipSheet(app, (place) => this.refine(place));
    this.top = new ClipTop(app, this.sheet);
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.writing = undefined;
    this.lastSheet = '#/';
    /** @type {Page|null} */
    this.page = null;
  }

  /** How many entries of the history lie between this one and the sheet it began at; 0 if it began elsewhere. */
  get steps() {
    return Number(history.state?.steps) || 0;
  }

  /** The sheet with another search, filters or order: at once; its address follows. @param {import('./types.js').Place} place */
  refine(place) {
    this.lastSheet = sheetAddress(place);
    this.sheet.show(place);
    clearTimeout(this.writing);
    this.writing = setTimeout(() => this.write(), WRITE_AFTER_MS);
  }

  write() {
    clearTimeout(this.writing);
    if (this.page === null && location.hash !== this.lastSheet) history.replaceState(history.state, '', this.lastSheet);
  }

  /** @param {string} hash @param {boolean} [replaces] */
  go(hash, replaces = false) {
    this.write();
    const fromSheet = this.page === null;
    const steps = replaces ? this.steps : fromSheet ? 1 : this.steps && this.steps + 1;
    if (replaces) history.replaceState({ steps }, '', hash);
    else history.pushState({ steps: parse(hash).page === 'sheet' ? 0 : steps }, '', hash);
    this.show();
  }

  back() {
    if (this.steps > 0) history.go(-this.steps);
    else this.go(this.lastSheet, true);
  }

  show() {
    const place = parse(location.hash);
    const left = this.page?.localName === 'clip-page' ? this.page.ids[0] : undefined;
    this.page?.remove();
    this.page = null;
    this.top.show(place.page === 'sheet');
    if (place.page === 'sheet') {
      this.lastSheet = sheetAddress(place);
      document.title = this.app.gallery.name;
      this.sheet.show(place, left);
      return;
    }
    this.sheet.hide();
    const leads = place.page === 'clip' || place.ids.some((id) => this.app.gallery.find(id));
    this.page = leads ? this.made(place) : this.nowhere();
    document.title = `${titleOf(this.app, place)} · ${this.app.gallery.name}`;
    main.append(this.page);
    const start = this.page.querySelector('h1') ?? this.page;
    start.setAttribute('tabindex', '-1');
    /** @type {HTMLElement} */ (start).focus({ preventScroll: true });
    this.page.scrollTop = 0;
  }

  /** @param {import('./types.js').Place} place */
  made(place) {
    const page = /** @type {Page} */ (element(place.page === 'clip' ? 'clip-page' : 'clip-compare', { class: 'page' }));
    page.app = this.app;
    page.ids = place.ids;
    return page;
  }

  /** Gives the focus a place where what had it has gone. */
  rest() {
    const start = this.page?.querySelector('h1');
    if (start instanceof HTMLElement) start.focus({ preventScroll: true });
    else this.sheet.grid.focusCard(this.sheet.grid.current, false);
  }

  nowhere() {
    const link = element('button', { type: 'button', on: { click: () => this.back() } }, '← All clips');
    return /** @type {Page} */ (element('section', { class: 'page' }, link, element('h1', {}, 'This address leads nowhere.')));
  }
}

/** @param {App} app @param {import('./types.js').Place} place */
function titleOf(app, place) {
  if (place.page === 'clip') return app.gallery.find(place.ids[0] ?? '')?.row ?? 'No such clip';
  return place.page === 'compare' ? 'Side by side' : 'Nowhere';
}

/** @param {App} app @param {Router} router */
function hear(app, router) {
  addEventListener('popstate', () => router.show());
  addEventListener('storage', (event) => app.marks.heard(event));
  addEventListener('beforeunload', (event) => {
    if (app.marks.unsaved) event.preventDefault();
  });
  document.addEventListener('click', (event) => {
    const link = event.target instanceof Element ? event.target.closest('a[href^="#/"]') : null;
    if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    app.go(link.getAttribute('href') ?? '#/');
  });
  document.addEventListener('keydown', (event) => {
    if (document.querySelector('dialog[open]')) return;
    const key = keyName(event);
    if (key === '?') showKeys();
    else if (key === '/' && !router.page) router.top.search.select();
    else if (key === 'Escape' && router.page) app.back();
    else return;
    event.preventDefault();
  });
  setInterval(() => document.visibilityState === 'visible' && void app.gallery.ask(), ASK_EVERY_MS);
  document.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && void app.gallery.ask());
}

async function start() {
  listen();
  document.body.append(skip, main, spoken);
  const gallery = await Gallery.open();
  if (!gallery) {
    fill(main, element('h1', {}, 'The gallery cannot be read.'), element('p', {}, 'Its folder data/ is not beside this page, or is of another version.'));
    return;
  }
  const kept = storage();
  /** @type {App} */
  const app = {
    gallery,
    get links() {
      return gallery.links;
    },
    marks: new Marks(gallery.store, gallery.name, kept),
    chosen: new Chosen(),
    settings: new Settings(kept),
    say,
    go: (hash, replaces) => router.go(hash, replaces),
    back: () => router.back(),
    shown: () => router.sheet.ids,
  };
  const router = new Router(app);
  main.append(router.sheet);
  main.before(router.top, makeNotices(app));
  const bar = new ClipBar(app, () => router.rest());
  main.after(bar);
  // While the filters cover a narrow window, nothing behind them has the focus.
  router.sheet.filters.toggled = (open) => {
    for (const part of [router.top, bar, router.sheet.grid]) part.inert = open;
    if (!open) router.top.narrow.focus();
  };
  hear(app, router);
  if (parse(location.hash).page === 'sheet') router.show();
  await gallery.read();
  if (parse(location.hash).page !== 'sheet') router.show();
}

// In the one-file form this script stands before the data.
if (document.readyState === 'loading') document.addEventListener('DOMContentLoaded', () => void start());
else void start();
