/**
 * Data files, by script tags: `fetch` and modules do not work from `file://`. Each file is one call,
 * `gallery('<name>','<JSON>')`; the JSON is a text, so that no name in it means anything to the language.
 */

const FILE = /^data\/[a-z0-9-]+\.js(\?\d+)?$/;
const PATIENCE_MS = 30_000;

/** @type {Map<string, (text: string) => void>} */
const awaited = new Map();

/** The part of Trusted Types that is used. @typedef {{createScriptURL: (address: string) => string}} Policy */

/** @param {string} address */
function checked(address) {
  if (!FILE.test(address)) throw new TypeError('not a data file of this gallery');
  return address;
}

/** @type {Policy} */
const policy = /** @type {any} */ (globalThis).trustedTypes?.createPolicy('gallery', { createScriptURL: checked }) ?? {
  createScriptURL: checked,
};

/** Makes the function that data files call. */
export function listen() {
  Object.defineProperty(globalThis, 'gallery', {
    value: (/** @type {unknown} */ name, /** @type {unknown} */ text) => awaited.get(String(name))?.(String(text)),
  });
}

/**
 * What a data file has; null if it cannot be had or read. `again` asks past the browser's memory.
 * @param {string} name
 * @param {number} [again]
 * @returns {Promise<any>}
 */
export async function load(name, again) {
  const inline = document.getElementById(`data-${name}`);
  const text = inline instanceof HTMLScriptElement ? inline.textContent : await loadScript(name, again);
  try {
    return text === null ? null : JSON.parse(text);
  } catch {
    return null;
  }
}

/** Whether all is in this one file. */
export const isOneFile = () => document.getElementById('data-index') !== null;

/**
 * @param {string} name
 * @param {number} [again]
 * @returns {Promise<string|null>}
 */
function loadScript(name, again) {
  return new Promise((resolve) => {
    const script = document.createElement('script');
    const end = (/** @type {string|null} */ text) => {
      awaited.delete(name);
      clearTimeout(timer);
      script.remove();
      resolve(text);
    };
    const timer = setTimeout(end, PATIENCE_MS, null);
    awaited.set(name, end);
    script.addEventListener('error', () => end(null));
    // A file that calls nothing, or with another name, is as good as none.
    script.addEventListener('load', () => end(null));
    script.async = true;
    script.src = policy.createScriptURL(`data/${name}.js${again ? `?${again}` : ''}`);
    document.head.append(script);
  });
}
