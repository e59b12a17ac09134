/** The clips that were chosen for comparing: six at most, in the order of choosing. */

export const MOST = 6;

/** `change` is told after each change; its detail is the ids that came or went. */
export class Chosen extends EventTarget {
  /** @type {string[]} */
  ids = [];

  /** @param {string} id */
  has(id) {
    return this.ids.includes(id);
  }

  /** Chooses a clip, or no longer. False if there are six already. @param {string} id */
  toggle(id) {
    if (this.has(id)) this.#become(this.ids.filter((other) => other !== id));
    else if (this.ids.length >= MOST) return false;
    else this.#become([...this.ids, id]);
    return true;
  }

  clear() {
    this.#become([]);
  }

  /** @param {string[]} ids */
  #become(ids) {
    const changed = [...this.ids, ...ids].filter((id) => this.ids.includes(id) !== ids.includes(id));
    this.ids = ids;
    this.dispatchEvent(new CustomEvent('change', { detail: changed }));
  }
}
