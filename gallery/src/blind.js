/**
 * Blind comparing: which clip is which is not known until it is asked for.
 */
const LETTERS = 'ABCDEF';

/** The name of a clip in a blind comparison, by the place that the shuffle gave it. @param {number} place */
export function letter(place) {
  return LETTERS[place] ?? String(place + 1);
}

/** A whole number from 0 to below `limit`, each as likely as the other. @param {number} limit */
export function draw(limit) {
  const room = 2 ** 32 - (2 ** 32 % limit);
  for (;;) {
    const [drawn = room] = crypto.getRandomValues(new Uint32Array(1));
    if (drawn < room) return drawn % limit;
  }
}

/**
 * The same things in an order that says nothing of the one they came in: every order is as likely, the old one as well.
 * @template T
 * @param {readonly T[]} things @param {(limit: number) => number} [choose]
 * @returns {T[]}
 */
export function shuffled(things, choose = draw) {
  const order = [...things];
  for (let last = order.length - 1; last > 0; last -= 1) {
    const other = choose(last + 1);
    [order[last], order[other]] = [/** @type {T} */ (order[other]), /** @type {T} */ (order[last])];
  }
  return order;
}

/** Off: as chosen. Blind: shuffled, letters only. Revealed: still in that order, with letters and names. */
/** @typedef {'off' | 'blind' | 'revealed'} Stage */

/** One blind comparison of some clips. */
export class Blind {
  /** @type {Stage} */ stage = 'off';
  /** The clips that were marked since it began: earlier marks would tell which is which. @type {Set<string>} */ #marked = new Set();

  get hides() {
    return this.stage === 'blind';
  }

  /** Whether the clips are called by letters. */
  get letters() {
    return this.stage !== 'off';
  }

  /**
   * Begins, or begins again: the order in which they are shown from now on.
   * @param {readonly string[]} ids
   */
  begin(ids) {
    this.stage = 'blind';
    this.#marked.clear();
    return shuffled(ids);
  }

  reveal() {
    this.stage = 'revealed';
  }

  end() {
    this.stage = 'off';
    this.#marked.clear();
  }

  /** A mark was given to this clip in this comparison. @param {string} id */
  mark(id) {
    this.#marked.add(id);
  }

  /** Whether a clip's mark may be shown. @param {string} id */
  showsMark(id) {
    return !this.hides || this.#marked.has(id);
  }
}
