/** How a clip stays with the one that leads, and where frames are: pure. */

/** Up to here a clip counts as being together with the one that leads. */
export const CLOSE_SECONDS = 0.03;
/** From here on a clip is moved, because its rate would take too long. */
export const FAR_SECONDS = 0.3;
/** A clip that is so far ahead of the last one waits for it: that shows less than a move would. */
export const AHEAD_SECONDS = 0.12;
/** By how much a rate is raised or lowered at most: nobody sees or hears this much. */
export const RATE_SHARE = 0.06;

/**
 * At what rate a clip goes on that is `drift` seconds ahead (or, negative, behind) of the one that leads; null: it has to be moved.
 * A clip that is being corrected is corrected until it is well within the limit, so that it does not stay at the limit.
 * @param {number} drift @param {number} base @param {boolean} correcting
 * @returns {number | null}
 */
export function rate(drift, base, correcting) {
  const off = Math.abs(drift);
  if (off > FAR_SECONDS) return null;
  if (off <= (correcting ? CLOSE_SECONDS / 3 : CLOSE_SECONDS)) return base;
  const share = Math.max(-RATE_SHARE, Math.min(RATE_SHARE, 1.5 * drift));
  return base * (1 - Math.round(share * 200) / 200);
}

/**
 * The middle of the frame that is `frames` after the one shown at `position`: in its middle no rounding leads to its neighbour.
 * @param {number} position @param {number} frames @param {number} fps
 */
export function frame(position, frames, fps) {
  return Math.max(0, (Math.floor(position * fps + 0.001) + frames + 0.5) / fps);
}

/**
 * Whether a clip that is `ahead` of the last one waits for it; one that does waits until they are together.
 * @param {number} ahead @param {boolean} waiting
 */
export const awaits = (ahead, waiting) => ahead <= FAR_SECONDS && ahead > (waiting ? CLOSE_SECONDS / 3 : AHEAD_SECONDS);
