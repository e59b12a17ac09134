/** The gallery's data: cards newest first, details when they are asked for, and what is new while the page is open. */
import { isOneFile, load } from './load.js';
import { Links } from './links.js';

/** @typedef {import('./types.js').Card} Card */
/** @typedef {import('./types.js').Index} Index */
/** @typedef {import('./types.js').Details} Details */

/** One reading of the data: what one `index.js` names. */
export class Snapshot {
  /** @param {Index} index */
  constructor(index) {
    this.index = index;
    /** @type {Map<string, Card[]>} Name of a file of cards to its cards. */
    this.files = new Map();
    /** @type {Map<string, string[]>} */
    this.checks = new Map();
    this.missing = 0;
  }

  /** Names of the files of cards, the newest first. */
  get names() {
    const sealed = (this.index.chunks ?? []).map((chunk) => chunk.cards).reverse();
    return this.index.open ? [...sealed, this.index.open] : sealed;
  }

  /**
   * @param {string} name
   * @param {Snapshot} [before] Files have their digests as names: what was read once is taken from there.
   */
  async read(name, before) {
    const cards = before?.files.get(name) ?? (await load(name));
    if (!Array.isArray(cards)) this.missing += 1;
    this.files.set(name, Array.isArray(cards) ? cards.filter((card) => typeof card?.id === 'string') : []);
  }

  async readChecks() {
    const pairs = this.index.checks ? await load(this.index.checks) : null;
    this.checks = new Map(Array.isArray(pairs) ? pairs : []);
  }

  /** All cards that were read so far, the newest first; of one id only the newest. */
  cards() {
    /** @type {Map<string, Card>} */
    const cards = new Map();
    for (const name of this.names) {
      for (const card of (this.files.get(name) ?? []).toReversed()) if (!cards.has(card.id)) cards.set(card.id, card);
    }
    return [...cards.values()].sort((one, other) => (other.at ?? 0) - (one.at ?? 0));
  }

  /**
   * The files that may have the details of a card, the likeliest first.
   * @param {string} id
   */
  detailFiles(id) {
    for (const chunk of [...(this.index.chunks ?? []), { cards: this.index.open ?? '', details: this.index.open_details ?? [] }]) {
      const cards = this.files.get(chunk.cards) ?? [];
      const place = cards.findIndex((card) => card.id === id);
      const files = chunk.details ?? [];
      const likely = files[cards[place]?.d ?? Math.floor(place / 100)];
      if (place >= 0) return likely ? [likely, ...files.filter((file) => file !== likely)] : files;
    }
    return [];
  }
}

/**
 * One gallery. Events: `cards` when more of them, or others, are there; `news` when `news` has changed.
 */
export class Gallery extends EventTarget {
  /** @param {Snapshot} snapshot */
  constructor(snapshot) {
    super();
    this.snapshot = snapshot;
    /** @type {Snapshot|null} A newer one, read and ready, not yet shown. */
    this.next = null;
    this.complete = false;
    /** @type {Map<string, Map<string, Details>>} */
    this.detailsByFile = new Map();
    /** @type {Card[]} The newest first. */
    this.cards = [];
    /** @type {Map<string, Card>} */
    this.byId = new Map();
    this.links = new Links(snapshot.index);
  }

  /** The gallery of this page; null if its data cannot be read. */
  static async open() {
    const index = await load('index');
    return isIndex(index) ? new Gallery(new Snapshot(index)) : null;
  }

  get index() {
    return this.snapshot.index;
  }
  get name() {
    return this.index.name;
  }
  get store() {
    return this.index.store;
  }
  get dagsterUrl() {
    return this.index.dagster_url ?? null;
  }
  /** How many cards there are in all, read or not yet. */
  get count() {
    return this.complete ? this.cards.length : Math.max(this.index.count ?? 0, this.cards.length);
  }

  /** Reads all cards, the newest first; `cards` is told after the first file and at the end. */
  async read() {
    const [first, ...rest] = this.snapshot.names;
    const open = this.index.open ? [this.index.open] : [];
    await Promise.all([this.snapshot.readChecks(), ...[...(first ? [first] : []), ...open].map((name) => this.snapshot.read(name))]);
    this.complete = rest.every((name) => this.snapshot.files.has(name));
    this.refresh();
    if (this.complete) return;
    await Promise.all(rest.filter((name) => !this.snapshot.files.has(name)).map((name) => this.snapshot.read(name)));
    this.complete = true;
    this.refresh();
  }

  refresh() {
    this.cards = this.snapshot.cards();
    this.links = new Links(this.index);
    this.byId = new Map(this.cards.map((card) => [card.id, card]));
    this.dispatchEvent(new Event('cards'));
  }

  /** @param {string} id */
  find(id) {
    return this.byId.get(id) ?? null;
  }

  /** All clips of the same prompt and input images, this one among them. @param {Card} card */
  ofPrompt(card) {
    return card.group ? this.cards.filter((other) => other.group === card.group && other.ending) : [card];
  }

  /** What the checks of a clip found; empty if they passed, or were not made. @param {string} id */
  failedChecks(id) {
    return this.snapshot.checks.get(id) ?? [];
  }

  /** How a clip came to be; null where nothing is known. @param {string} id @returns {Promise<Details|null>} */
  async details(id) {
    for (const file of this.snapshot.detailFiles(id)) {
      if (!this.detailsByFile.has(file)) {
        const pairs = await load(file);
        if (Array.isArray(pairs)) this.detailsByFile.set(file, new Map(pairs));
      }
      const details = this.detailsByFile.get(file)?.get(id);
      if (details) return details;
    }
    return null;
  }

  /** The key of a clip in its store, without its ending: what marks are joined by. @param {Card} card */
  clipKey(card) {
    return `${card.tree ?? this.name}/clips/${card.id}`;
  }

  /** How many clips are waiting to be shown, and whether anything is. */
  get news() {
    const next = this.next;
    if (!next) return { clips: 0, any: false };
    const clips = next.cards().filter((card) => card.ending && !this.find(card.id)?.ending).length;
    return { clips, any: true };
  }

  /** Asks for the index again, and reads what it names. Nothing on the page moves: `showNews` is for the person. */
  async ask() {
    if (isOneFile() || !this.complete) return;
    const index = await load('index', Date.now());
    if (!isIndex(index) || index.revision === (this.next ?? this.snapshot).index.revision) return;
    if (index.store !== this.store || index.name !== this.name) return;
    const next = new Snapshot(index);
    await Promise.all([next.readChecks(), ...next.names.map((name) => next.read(name, this.snapshot))]);
    // A file that is not there yet, or no longer: the next minute has it.
    if (next.missing > 0) return;
    this.next = next.index.revision === this.index.revision ? null : next;
    this.dispatchEvent(new Event('news'));
  }

  /** Shows what `ask` found. True if the page itself is of an older version and should be loaded again. */
  showNews() {
    const next = this.next;
    if (!next) return false;
    const older = next.index.app !== this.index.app;
    this.snapshot = next;
    this.next = null;
    this.refresh();
    this.dispatchEvent(new Event('news'));
    return older;
  }
}

/** @param {any} index @returns {index is Index} */
function isIndex(index) {
  return index?.format === 1 && typeof index.name === 'string' && typeof index.store === 'string';
}
