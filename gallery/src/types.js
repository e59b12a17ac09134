/**
 * What the writer hands over, format 1, and what the parts of the page share. Types only: nothing of it is in the build.
 *
 * Keys may be absent where there is nothing to say; unknown states, models and columns are shown as they are.
 *
 * @typedef {object} Card One clip, or one row without a clip.
 * @property {string} id `<row encoded>/<digest12>-t<take>[-a<attempt>]/<n>`; of a row without a clip, the row alone.
 * @property {string} [tree] The pipeline's folder where the clip lies, if it is not the present one.
 * @property {string} row
 * @property {string} state
 * @property {string} [reason]
 * @property {string} [model]
 * @property {string} [prompt] At most 4,000 characters; the whole is in the details.
 * @property {string} [group] Digest of the prompt's text and the input images.
 * @property {number} [take]
 * @property {number} [attempt]
 * @property {string} [ending] `mp4`, `webm` or `mov`; absent where there is no clip.
 * @property {number} [seconds]
 * @property {number} [width]
 * @property {number} [height]
 * @property {number} [fps]
 * @property {boolean} [audio]
 * @property {number} [cost]
 * @property {boolean} [estimated]
 * @property {[string, string][]} [labels]
 * @property {number} [at] Seconds since 1970: stored, or claimed.
 * @property {string} [thumb] 20 hexadecimal digits.
 * @property {number} [d] Which file of details it is in, where that does not follow from its place.
 * @property {string[]} [s] Presigned form: the signatures of the clip and of its poster.
 *
 * @typedef {object} InputImage
 * @property {string} [role]
 * @property {string} [name]
 * @property {string} [digest]
 * @property {string} [thumb] File name in the pipeline's folder of images.
 * @property {string} [s] Presigned form: its signature.
 *
 * @typedef {object} Step
 * @property {number} [at]
 * @property {string} what
 * @property {string} [text]
 * @property {number} [cost]
 * @property {boolean} [estimated]
 *
 * @typedef {object} Details
 * @property {string} [prompt]
 * @property {[string, string][]} [parameters]
 * @property {InputImage[]} [images]
 * @property {string} [account]
 * @property {string} [provider]
 * @property {string} [task_id]
 * @property {string} [digest]
 * @property {string} [client_reference]
 * @property {string} [sha256]
 * @property {number} [size_bytes]
 * @property {string} [codec]
 * @property {string} [container]
 * @property {string|number} [seed]
 * @property {Step[]} [steps]
 * @property {{run_id?: string, asset?: string, partition?: string}} [dagster]
 * @property {string} [code_version]
 * @property {string} [package_version]
 *
 * @typedef {object} Presigned
 * @property {number} until Seconds since 1970.
 * @property {string} command What makes new links.
 * @property {string} origin The one host of the clips.
 * @property {string} path From the host to the pipeline's clips, encoded, with a slash at its end.
 * @property {string} query What all signed addresses have in common.
 * @property {string} signature_name
 *
 * @typedef {object} Index
 * @property {1} format
 * @property {string} name
 * @property {string} store
 * @property {string} revision
 * @property {string} app
 * @property {string} [base]
 * @property {string|null} [dagster_url]
 * @property {number} [count]
 * @property {{cards: string, count: number, details?: string[]}[]} [chunks]
 * @property {string|null} [open]
 * @property {string[]} [open_details]
 * @property {string|null} [checks]
 * @property {Presigned|null} [links]
 *
 * @typedef {object} Place Where an address leads.
 * @property {'sheet'|'clip'|'compare'|'unknown'} page
 * @property {string[]} ids The clips of a page of clips.
 * @property {string} query
 * @property {Map<string, string[]>} filters Facet to chosen values.
 * @property {string} sort
 *
 * @typedef {object} App What every part of the page is given.
 * @property {import('./data.js').Gallery} gallery
 * @property {import('./links.js').Links} links
 * @property {import('./marks.js').Marks} marks
 * @property {import('./chosen.js').Chosen} chosen
 * @property {import('./settings.js').Settings} settings
 * @property {(text: string) => void} say Spoken to those who listen, and shown for a moment.
 * @property {(hash: string, replaces?: boolean) => void} go To an address such as `#/clip/…`; as a new entry of the history, or
 *   in place of this one (from one clip to the next).
 * @property {() => void} back To the sheet, to the same card.
 * @property {() => string[]} shown The ids on the sheet, in its order.
 */
export {};
