/** Addresses: of clips, pictures and places in this page. Made from ids and hashes only, never taken from data. */

const KEY = Symbol('made here');

/** An address that was made here. Nothing else can be put into `href` or `src`. */
export class Link {
  /**
   * @param {symbol} key
   * @param {string} address
   */
  constructor(key, address) {
    if (key !== KEY) throw new TypeError('addresses are made in links.js');
    this.address = address;
    Object.freeze(this);
  }
}

const ENDINGS = new Set(['mp4', 'webm', 'mov']);
const THUMB = /^[0-9a-f]{20}$/;
const IMAGE = /^[0-9a-f]{64}(-thumb)?\.(jpg|png|webp)$/;
/** The way from the page to the pipeline's folder: relative, so that it names no host. */
const BASE = /^([A-Za-z0-9._~%-]+\/)+$/;
const SIGNATURE = /^[0-9a-fA-F]{16,128}$/;

/**
 * One part of a path, as signatures want it: everything but letters, digits and `-_.~` is escaped.
 * @param {string} text
 */
export function escaped(text) {
  return encodeURIComponent(text.toWellFormed()).replace(/[!'()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`);
}

/**
 * An id or a folder as a path; null if a part of it would lead elsewhere.
 * @param {string} path
 */
export function pathOf(path) {
  const parts = path.split('/');
  if (parts.some((part) => part === '' || part === '.' || part === '..')) return null;
  return parts.map(escaped).join('/');
}

/**
 * An address in this page, such as `#/clip/…`.
 * @param {string} hash
 */
export function pageLink(hash) {
  return new Link(KEY, hash.startsWith('#') ? hash : '#/');
}

/**
 * Something made in this page, to be saved as a file.
 * @param {Blob} blob
 */
export function fileLink(blob) {
  return new Link(KEY, URL.createObjectURL(blob));
}

/**
 * The run in Dagster's own web pages, if the gallery was told where they are.
 * @param {string|null|undefined} dagsterUrl
 * @param {string|undefined} runId
 */
export function runLink(dagsterUrl, runId) {
  if (!dagsterUrl || !runId || !/^https?:\/\//i.test(dagsterUrl) || !URL.canParse(dagsterUrl)) return null;
  const url = new URL(dagsterUrl);
  return new Link(KEY, `${url.origin}${url.pathname.replace(/\/*$/, '')}/runs/${escaped(runId)}`);
}

/** Where clips and pictures of one gallery are: beside the page, or signed at one other host. */
export class Links {
  /** @param {import('./types.js').Index} index */
  constructor(index) {
    this.base = BASE.test(index.base ?? '') ? String(index.base) : '../';
    this.presigned = index.links ?? null;
  }

  /** When the links end, in seconds since 1970; null if they do not. */
  get until() {
    return this.presigned?.until ?? null;
  }

  /** @param {number} [now] Seconds since 1970. */
  ended(now = Date.now() / 1000) {
    return this.until !== null && now >= this.until;
  }

  /** The clip's bytes as they are stored; null where there is no clip. @param {import('./types.js').Card} card */
  clip(card) {
    return ENDINGS.has(card.ending ?? '') ? this.#stored(card, /** @type {string} */ (card.ending), 0) : null;
  }

  /** A picture of the clip; null where there is none. @param {import('./types.js').Card} card */
  thumb(card) {
    if (this.presigned) return card.ending && card.s?.[1] ? this.#stored(card, 'jpg', 1) : null;
    return card.thumb && THUMB.test(card.thumb) ? new Link(KEY, `thumbs/${card.thumb}.jpg`) : null;
  }

  /** A picture of an input image; null where there is none. @param {import('./types.js').InputImage} image */
  input(image) {
    if (!image.thumb || !IMAGE.test(image.thumb)) return null;
    if (!this.presigned) return new Link(KEY, `${this.base}images/${image.thumb}`);
    const folder = this.presigned.path.replace(/[^/]+\/$/, 'images/');
    return this.#signed(`${folder}${image.thumb}`, image.s);
  }

  /**
   * @param {import('./types.js').Card} card
   * @param {string} ending
   * @param {number} signature
   */
  #stored(card, ending, signature) {
    const [id, tree] = [pathOf(card.id), card.tree === undefined ? '' : pathOf(card.tree)];
    if (id === null || tree === null) return null;
    if (!this.presigned) {
      return new Link(KEY, `${this.base}${tree ? `../${tree}/` : ''}clips/${id}.${ending}`);
    }
    const path = this.presigned.path;
    return this.#signed(`${tree ? path.replace(/[^/]+\/clips\/$/, `${tree}/clips/`) : path}${id}.${ending}`, card.s?.[signature]);
  }

  /**
   * @param {string} path
   * @param {string|undefined} signature
   */
  #signed(path, signature) {
    const signed = this.presigned;
    if (!signed || !signature || !SIGNATURE.test(signature)) return null;
    return new Link(KEY, `${signed.origin}${path}?${signed.query}&${signed.signature_name}=${signature}`);
  }
}
