/**
 * The one function that makes elements. Text becomes text nodes, addresses are `Link`s; there is no way from data to
 * markup, to a script or to a foreign address.
 */
import { Link } from './links.js';

/** @typedef {Node|string|number|null|undefined|false} Child */
/** @typedef {Record<string, unknown>} Properties */

const ATTRIBUTES = new Set(
  ('alt autofocus autoplay checked class colspan controls decoding dir disabled download draggable for height hidden ' +
    'id inputmode lang list loading loop max maxlength min multiple muted name open placeholder playsinline popover ' +
    'popovertarget preload readonly rel role rows scope selected size spellcheck step tabindex target title type ' +
    'value width accept autocomplete enterkeyhint').split(' '),
);
const ADDRESSES = new Set(['href', 'src', 'poster']);
const REFUSED = new Set('script iframe frame object embed base link meta style template svg math'.split(' '));

/**
 * @param {Element} made
 * @param {string} name
 * @param {unknown} value
 */
function put(made, name, value) {
  if (value === undefined || value === null || value === false) return;
  if (ADDRESSES.has(name)) {
    if (!(value instanceof Link)) throw new TypeError(`${name} takes a Link`);
    made.setAttribute(name, value.address);
  } else if (ATTRIBUTES.has(name) || name.startsWith('aria-') || name.startsWith('data-')) {
    made.setAttribute(name, value === true && !name.startsWith('aria-') ? '' : String(value));
    // A muted video may start by itself only if the property is set as well.
    if (name === 'muted' && made instanceof HTMLMediaElement) made.muted = true;
  } else {
    throw new TypeError(`no attribute ${name} is set here`);
  }
}

/**
 * Makes an element. `on` is a record of listeners; all other properties are attributes of a fixed list, left out where
 * they are null, undefined or false.
 *
 * @template {string} K
 * @param {K} tag
 * @param {Properties & {on?: Record<string, (event: any) => void>}} [properties]
 * @param {...(Child|Child[])} children
 * @returns {K extends keyof HTMLElementTagNameMap ? HTMLElementTagNameMap[K] : HTMLElement}
 */
export function element(tag, properties = {}, ...children) {
  if (REFUSED.has(tag.toLowerCase())) throw new TypeError(`no ${tag} is made here`);
  const made = document.createElement(tag);
  const { on, ...attributes } = properties;
  for (const [name, value] of Object.entries(attributes)) put(made, name, value);
  for (const [name, listener] of Object.entries(on ?? {})) made.addEventListener(name, listener);
  fill(made, ...children);
  return /** @type {any} */ (made);
}

/**
 * Replaces what is in an element.
 * @param {Element} parent
 * @param {...(Child|Child[])} children
 */
export function fill(parent, ...children) {
  const nodes = children.flat().filter((child) => child !== null && child !== undefined && child !== false);
  parent.replaceChildren(...nodes.map((child) => (child instanceof Node ? child : document.createTextNode(String(child)))));
}

/**
 * Sets or, with null, takes away an attribute of `element`.
 * @param {Element} made
 * @param {string} name
 * @param {unknown} value
 */
export function set(made, name, value) {
  if (value === undefined || value === null || value === false) made.removeAttribute(name);
  else put(made, name, value);
}

/**
 * Text of others, such as a prompt: in its own direction, whatever stands around it.
 * @param {string} tag
 * @param {string|undefined} text
 * @param {Properties} [properties]
 */
export function foreign(tag, text, properties = {}) {
  return element(tag, { dir: 'auto', ...properties, class: `foreign ${properties['class'] ?? ''}`.trim() }, text ?? '');
}
