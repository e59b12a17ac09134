/** When a clip is where it shall be, and can go on from there. */
import { CLOSE_SECONDS } from './pace.js';

/**
 * A clip as the transport knows it.
 * @typedef {{video: HTMLVideoElement, seconds?: number, fps?: number}} Player
 */

const EVENTS = ['loadedmetadata', 'loadeddata', 'canplay', 'seeked', 'error', 'emptied'];

/** Its length in seconds; of a file that does not say it, as it was measured. @param {Player} player */
export function length({ video, seconds }) {
  return Number.isFinite(video.duration) ? video.duration : (seconds ?? 0);
}

/**
 * Whether it plays on while the one that leads is at `position`. What has ended holds its last frame: to play it would be to begin anew.
 * @param {Player} player @param {number} position
 */
export function runs(player, position) {
  const { video } = player;
  const loaded = video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA;
  return loaded && !video.ended && !video.seeking && position < length(player) - CLOSE_SECONDS;
}

/** Whether it can go on from where it is. @param {HTMLVideoElement} video */
export function here(video) {
  const end = video.ended || video.duration - video.currentTime < 0.05;
  return !video.seeking && video.readyState >= (end ? HTMLMediaElement.HAVE_CURRENT_DATA : HTMLMediaElement.HAVE_FUTURE_DATA);
}

/**
 * Takes a clip to a place, and waits until it can go on from there; false: it did not arrive in time. A clip that fails has arrived.
 * @param {Player} player @param {number} position @param {number} patienceMs
 * @returns {Promise<boolean>}
 */
export function arrive(player, position, patienceMs) {
  const { video } = player;
  const listening = new AbortController();
  let moved = false;
  return new Promise((resolve) => {
    const done = (/** @type {boolean} */ arrived) => {
      listening.abort();
      resolve(arrived);
    };
    const look = () => {
      if (video.error !== null || video.getAttribute('src') === null) return done(true);
      if (video.readyState < HTMLMediaElement.HAVE_METADATA) return;
      if (!moved) {
        moved = true;
        const place = Math.min(position, length(player));
        if (Math.abs(video.currentTime - place) > 0.0005) video.currentTime = place;
      }
      if (here(video)) done(true);
    };
    const timer = setTimeout(() => done(false), patienceMs);
    listening.signal.addEventListener('abort', () => clearTimeout(timer));
    for (const event of EVENTS) video.addEventListener(event, look, { signal: listening.signal });
    look();
  });
}
