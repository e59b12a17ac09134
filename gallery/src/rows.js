/** The arithmetic of equal rows: how wide cards are, and where keys lead. Pure. */

/** @typedef {{columns: number, width: number, height: number, row: number}} Measures */

/** Browsers end a scroll box at 2^24 pixels, fewer on sharp screens. */
export const MOST_PIXELS = 10_000_000;
export const GAP = 14;
const TEXT_REM = 5.1;

/**
 * @param {number} width Of the list.
 * @param {number} size Wished width of a card.
 * @param {number} rem
 * @returns {Measures}
 */
export function measure(width, size, rem) {
  // Two beside each other on a phone, unless large cards are wished for.
  const wished = width < 560 && size < 420 ? Math.min(size, (width - GAP) / 2) : size;
  // A little smaller rather than much larger than wished.
  const columns = Math.max(1, Math.floor((width + GAP) / (wished + GAP) + 0.2));
  const card = (width - (columns - 1) * GAP) / columns;
  const height = Math.round((card * 9) / 16 + TEXT_REM * rem);
  return { columns, width: card, height, row: height + GAP };
}

/**
 * Where a key leads from a card; null if it does not move.
 * @param {string} key
 * @param {{current: number, count: number, columns: number, rows: number}} at `rows` that are on the screen.
 * @returns {number|null}
 */
export function target(key, { current, count, columns, rows }) {
  const last = count - 1;
  const page = rows * columns;
  /** @type {Record<string, number>} */
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, PageUp: -page, PageDown: page };
  if (key === 'Home') return 0;
  if (key === 'End') return Math.max(0, last);
  const step = Object.hasOwn(steps, key) ? steps[key] : undefined;
  if (step === undefined) return null;
  const to = current + step;
  // Up from the first row and down from the last one stay in their column, but reach a shorter last row.
  if (to < 0) return key === 'PageUp' ? current % columns : current;
  if (to <= last) return to;
  const above = Math.floor(current / columns) < Math.floor(last / columns);
  return key === 'PageDown' || (key === 'ArrowDown' && above) ? Math.max(0, last) : current;
}
