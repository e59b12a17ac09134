/** Picks, rejects and notes: kept by this browser, under the store's id and the pipeline's name. */

/** @typedef {'pick'|'reject'|''} Sign */
/** @typedef {{sign: Sign, note: string, at: string}} Mark */

/** @type {Mark} */
const NONE = Object.freeze({ sign: '', note: '', at: '' });

/** The browser's own storage; null if it is refused. */
export function storage() {
  try {
    const kept = globalThis.localStorage;
    kept.setItem('gallery', 'kept');
    kept.removeItem('gallery');
    return kept;
  } catch {
    return null;
  }
}

/** Marks by clip id. `change` is told after each change; its detail is the id, or null if it may be any. */
export class Marks extends EventTarget {
  /**
   * @param {string} store
   * @param {string} pipeline
   * @param {Storage|null} kept
   */
  constructor(store, pipeline, kept) {
    super();
    this.key = `${store}/${pipeline}`;
    this.kept = kept;
    /** Whether there are marks that only this open page knows. */
    this.unsaved = false;
    /** @type {Map<string, Mark>} */
    this.marks = this.#read();
  }

  /** Whether the browser keeps marks at all. */
  get refused() {
    return this.kept === null;
  }

  /** @param {string} id @returns {Mark} */
  get(id) {
    return this.marks.get(id) ?? NONE;
  }

  /** @param {string} id @param {Sign} sign */
  set(id, sign) {
    this.#put(id, { ...this.get(id), sign });
  }

  /** Sets the mark, or takes it away if it is there. @param {string} id @param {Sign} sign */
  toggle(id, sign) {
    this.set(id, this.get(id).sign === sign ? '' : sign);
  }

  /** @param {string} id @param {string} note */
  note(id, note) {
    this.#put(id, { ...this.get(id), note: note.trim() });
  }

  /** All clips with a mark or a note. */
  entries() {
    return [...this.marks].filter(([, mark]) => mark.sign || mark.note);
  }

  counts() {
    const signs = this.entries().map(([, mark]) => mark.sign);
    return {
      picks: signs.filter((sign) => sign === 'pick').length,
      rejects: signs.filter((sign) => sign === 'reject').length,
      all: signs.length,
    };
  }

  /**
   * Takes marks from elsewhere. Where this browser has a later one it stays.
   * @param {[string, Mark][]} others
   */
  merge(others) {
    this.marks = this.#latest();
    let kept = 0;
    for (const [id, mark] of others) {
      const own = this.get(id);
      if (own.at && mark.at && own.at > mark.at && (own.sign !== mark.sign || own.note !== mark.note)) kept += 1;
      else this.marks.set(id, { ...mark, at: mark.at || new Date().toISOString() });
    }
    this.#write(null);
    return { taken: others.length - kept, kept };
  }

  /** Another page of the same gallery has changed them. @param {StorageEvent} event */
  heard(event) {
    if (event.storageArea !== this.kept || (event.key !== this.key && event.key !== null)) return;
    this.marks = this.#latest();
    this.dispatchEvent(new CustomEvent('change', { detail: null }));
  }

  /** They are in a file now. */
  exported() {
    this.unsaved = false;
  }

  /** @param {string} id @param {Mark} mark */
  #put(id, mark) {
    // What another page wrote a moment ago must not be lost.
    this.marks = this.#latest();
    this.marks.set(id, { ...mark, at: new Date().toISOString() });
    this.#write(id);
  }

  /** @param {string|null} id */
  #write(id) {
    try {
      if (!this.kept) throw new Error('refused');
      const marks = this.entries();
      this.kept.setItem(this.key, JSON.stringify(marks.map(([key, mark]) => [key, mark.sign, mark.note, mark.at])));
      this.marks = new Map(marks);
      this.unsaved = false;
    } catch {
      // Refused, or full: the page says so, and asks before it is left.
      this.unsaved = this.counts().all > 0;
    }
    this.dispatchEvent(new CustomEvent('change', { detail: id }));
  }

  /** What is kept, and of what only this page knows all that is later. */
  #latest() {
    const kept = this.#read(this.marks);
    if (this.unsaved) {
      for (const [id, mark] of this.marks) if (mark.at >= (kept.get(id)?.at ?? '')) kept.set(id, mark);
    }
    return kept;
  }

  /** @param {Map<string, Mark>} [otherwise] @returns {Map<string, Mark>} */
  #read(otherwise) {
    if (!this.kept) return otherwise ?? new Map();
    try {
      const lines = JSON.parse(this.kept.getItem(this.key) ?? '[]');
      return new Map(lines.map((/** @type {any[]} */ [id, sign, note, at]) => [String(id), readMark(sign, note, at)]));
    } catch {
      return otherwise ?? new Map();
    }
  }
}

/**
 * @param {unknown} sign
 * @param {unknown} note
 * @param {unknown} at
 * @returns {Mark}
 */
export function readMark(sign, note, at) {
  return { sign: sign === 'pick' || sign === 'reject' ? sign : '', note: String(note ?? ''), at: String(at ?? '') };
}
