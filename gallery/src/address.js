/** Addresses after `#`: read and written. They work from `file://`, survive a reload and can be sent. */

/** @typedef {import('./types.js').Place} Place */

export const SORTS = ['newest', 'oldest', 'prompt', 'row', 'dearest'];

/** @returns {Place} */
export function sheet() {
  return { page: 'sheet', ids: [], query: '', filters: new Map(), sort: 'newest' };
}

/** @param {string} id */
const written = (id) => id.split('/').map((part) => encodeURIComponent(part.toWellFormed())).join('/');
/** @param {string} text */
const read = (text) => text.split('/').map(decodeURIComponent).join('/');

/** @param {string} id */
export const clipAddress = (id) => `#/clip/${written(id)}`;

/** @param {string[]} ids */
export const compareAddress = (ids) => `#/compare/${ids.map(written).join(',')}`;

/**
 * The address of the sheet with these filters.
 * @param {Partial<Place>} place
 */
export function sheetAddress({ query = '', filters = new Map(), sort = 'newest' }) {
  const search = new URLSearchParams();
  if (query) search.set('q', query);
  for (const [facet, values] of filters) for (const value of values) search.append(`f.${facet}`, value);
  if (sort !== 'newest') search.set('sort', sort);
  const text = search.toString();
  return text ? `#/?${text}` : '#/';
}

/** @param {Place} place */
export function format(place) {
  if (place.page === 'clip') return clipAddress(place.ids[0] ?? '');
  if (place.page === 'compare') return compareAddress(place.ids);
  return sheetAddress(place);
}

/**
 * Where an address leads. What cannot be read is `unknown`; nothing is raised.
 * @param {string} hash
 * @returns {Place}
 */
export function parse(hash) {
  const place = sheet();
  const path = hash.replace(/^#/, '');
  try {
    if (path === '' || path === '/' || path.startsWith('/?')) return readSheet(place, path.slice(2));
    if (path.startsWith('/clip/')) return { ...place, page: 'clip', ids: [read(path.slice(6))] };
    if (path.startsWith('/compare/')) {
      const ids = path.slice(9).split(',').filter(Boolean).map(read);
      return { ...place, page: 'compare', ids: [...new Set(ids)] };
    }
  } catch {
    // An escape that is none.
  }
  return { ...place, page: 'unknown' };
}

/**
 * @param {Place} place
 * @param {string} text
 */
function readSheet(place, text) {
  for (const [name, value] of new URLSearchParams(text)) {
    if (name === 'q') place.query = value;
    else if (name === 'sort' && SORTS.includes(value)) place.sort = value;
    else if (name.startsWith('f.')) {
      const facet = name.slice(2);
      place.filters.set(facet, [...new Set([...(place.filters.get(facet) ?? []), value])]);
    }
  }
  return place;
}
