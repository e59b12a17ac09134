/** What is known of a clip, as lists of names and values. */
import { element, foreign } from './dom.js';
import { instant } from './timeline.js';
import { cost, length, stateWord } from './words.js';

/** @typedef {import('./types.js').Card} Card */
/** @typedef {import('./types.js').Details} Details */
/** @typedef {import('./dom.js').Child} Child */
/** @typedef {[string, Child][]} Facts */

/**
 * A headed list; nothing where there is nothing to say.
 * @param {string} title @param {Facts} facts
 */
export function factList(title, facts) {
  const told = facts.filter(([, value]) => value !== null && value !== undefined && value !== '' && value !== false);
  if (told.length === 0) return null;
  return element(
    'section',
    { class: 'facts' },
    element('h2', {}, title),
    element('dl', {}, told.map(([name, value]) => element('div', {}, foreign('dt', name), element('dd', {}, value)))),
  );
}

/** Text of others as a value. @param {string|number|null|undefined} text */
const plain = (text) => (text === undefined || text === null || text === '' ? null : foreign('span', String(text)));
/** A digest or another name of a machine. @param {string|number|null|undefined} text */
const code = (text) => (text === undefined || text === null || text === '' ? null : foreign('code', String(text)));

/** `1280 × 720, 5 s, 24 frames a second`. @param {Card} card */
export function picture(card) {
  return [
    card.width && card.height ? `${card.width} × ${card.height}` : '',
    length(card.seconds),
    card.fps ? `${Number(card.fps.toFixed(2))} frames a second` : '',
  ]
    .filter(Boolean)
    .join(', ');
}

/** `3.6 MB`. @param {number|undefined} bytes */
export function size(bytes) {
  if (typeof bytes !== 'number') return '';
  if (bytes < 1000) return `${bytes} bytes`;
  const [amount, unit] = bytes < 1e6 ? [bytes / 1e3, 'kB'] : bytes < 1e9 ? [bytes / 1e6, 'MB'] : [bytes / 1e9, 'GB'];
  return `${amount < 100 ? amount.toFixed(1) : amount.toFixed(0)} ${unit}`;
}

/** @param {Card} card @param {string[]} checks */
function checkWords(card, checks) {
  if (checks.length === 1) return element('span', { class: 'failed' }, '✗ ', plain(checks[0]));
  if (checks.length > 1) return element('ul', { class: 'failed' }, checks.map((text) => foreign('li', `✗ ${text}`)));
  return card.ending ? 'none failed' : null;
}

/**
 * What matters for choosing, and the table's own columns.
 * @param {Card} card @param {string[]} checks @param {Details|null} details
 */
export function clipFacts(card, checks, details) {
  const sound = card.audio === undefined ? null : card.audio ? 'yes' : 'no';
  return [
    factList('Clip', [
      ['State', stateWord(card.state)],
      ['Reason', card.ending ? plain(card.reason) : null],
      ['Model', plain(card.model)],
      ['Cost', typeof card.cost === 'number' ? cost(card) + (card.estimated ? ', an estimate' : '') : 'unknown'],
      ['Picture', picture(card)],
      ['Sound', sound],
      ['File', [details?.codec, details?.container ?? card.ending, size(details?.size_bytes)].filter(Boolean).join(', ')],
      ['Checks', checkWords(card, checks)],
      [card.ending ? 'Stored' : 'Since', instant(card.at)],
    ]),
    factList(
      'Labels',
      (card.labels ?? []).map(([column, value]) => [column, plain(value)]),
    ),
  ];
}

/** What was asked for, and of whom. @param {Details} details */
export function requestFacts(details) {
  return factList('Request', [
    .../** @type {Facts} */ ((details.parameters ?? []).map(([name, value]) => [name, plain(value)])),
    ['Seed', details.parameters?.some(([name]) => name === 'seed') ? null : plain(details.seed)],
    ['Provider', plain(details.provider)],
    ['Account', plain(details.account)],
    ['Task', code(details.task_id)],
    ['Digest', code(details.digest)],
    ['Reference', code(details.client_reference)],
  ]);
}

/** @param {Details} details @param {import('./links.js').Link|null} run */
export function dagsterFacts(details, run) {
  const { run_id, asset, partition } = details.dagster ?? {};
  return factList('Dagster', [
    ['Run', run && run_id ? element('a', { href: run, rel: 'noreferrer' }, code(run_id)) : code(run_id)],
    ['Asset', plain(asset)],
    ['Partition', plain(partition)],
    ['Code version', code(details.code_version)],
    ['Package', plain(details.package_version)],
  ]);
}

/** Under what name it lies in the store. @param {string} key */
export const storedFacts = (key) => factList('In the store', [['Key', code(key)]]);

/**
 * Input images: thumbnails that were made from the checked bytes, otherwise the name alone. Never their source.
 * @param {Details} details @param {import('./links.js').Links} links
 */
export function inputs(details, links) {
  const images = details.images ?? [];
  if (images.length === 0) return null;
  return element(
    'section',
    { class: 'inputs' },
    element('h2', {}, images.length === 1 ? 'Input image' : 'Input images'),
    element('ul', {}, images.map((image) => input(image, links))),
  );
}

/** @param {import('./types.js').InputImage} image @param {import('./links.js').Links} links */
function input(image, links) {
  const address = links.input(image);
  const name = image.name ?? image.role ?? 'image';
  const none = () => element('span', { class: 'input-none' }, links.ended() ? 'Link ended' : 'No picture');
  const picture = address
    ? element('img', {
        src: address,
        alt: `${image.role ?? 'input'}: ${name}`,
        decoding: 'async',
        on: { error: (/** @type {Event} */ event) => /** @type {Element} */ (event.target).replaceWith(none()) },
      })
    : none();
  return element(
    'li',
    {},
    picture,
    element(
      'div',
      {},
      image.role ? foreign('strong', image.role.replaceAll('_', ' ')) : null,
      foreign('span', image.name ?? ''),
      image.digest ? foreign('code', image.digest.slice(0, 12), { title: image.digest }) : null,
    ),
  );
}
