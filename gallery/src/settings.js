/** How a person likes the page: kept by the browser for all galleries, where it keeps anything. */

const KEY = 'pixverse-dagster gallery settings';
/** @typedef {{theme: 'auto'|'light'|'dark', size: number, fit: 'fit'|'fill', sound: boolean}} Values */

export class Settings {
  /** @type {Values} */
  values = { theme: 'auto', size: 280, fit: 'fit', sound: false };

  /** @param {Storage|null} kept */
  constructor(kept) {
    this.kept = kept;
    try {
      const values = JSON.parse(kept?.getItem(KEY) ?? '{}');
      if (['light', 'dark'].includes(values.theme)) this.values.theme = values.theme;
      if (values.size >= 140 && values.size <= 640) this.values.size = Number(values.size);
      if (values.fit === 'fill') this.values.fit = 'fill';
      if (values.sound === true) this.values.sound = true;
    } catch {
      // Unreadable: as if there were none.
    }
  }

  /** @param {Partial<Values>} values */
  set(values) {
    Object.assign(this.values, values);
    try {
      this.kept?.setItem(KEY, JSON.stringify(this.values));
    } catch {
      // Full: it holds for as long as this page is open.
    }
  }
}
