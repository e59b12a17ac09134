/**
 * One transport for several clips: they start together, stay together and begin again together.
 * 
 * The longest clip leads. The others follow it by their rate, and are moved only where they are far off: a move empties the decoder, and
 * clips that are moved again and again never play smoothly. A shorter clip holds its last frame until the longest has ended.
 */
import { arrive, here, length, runs } from './arrival.js';
import { awaits, FAR_SECONDS, frame, rate } from './pace.js';

/** So long the others wait for a clip whose bytes do not come; then they go on without it. */
export const PATIENCE_MS = 10_000;

/** So long a clip that is ahead waits at most. */
const AWAITED_MS = 1000;
const FALLBACK_FPS = 24;

/** @typedef {import('./arrival.js').Player} Player */
/** @typedef {'paused' | 'waiting' | 'playing'} State */

/** Events: `change` (state, length or who plays), `position`. */
export class Transport extends EventTarget {
  /** @type {Player[]} */ #players = [];
  /** @type {State} */ #state = 'paused';
  /** Whether it shall play, as the person said. */ #wanted = false;
  #base = 1;
  /** Where the clips are being taken to, while they are. @type {number | null} */ #target = null;
  /** The next place that was asked for meanwhile. @type {number | null} */ #next = null;
  #turn = 0;
  #moving = false;
  /** Clips that the others do not wait for any more. @type {Set<HTMLVideoElement>} */ #late = new Set();
  /** @type {Set<HTMLVideoElement>} */ #correcting = new Set();
  /** Clips that are ahead and wait, and since when. @type {Map<HTMLVideoElement, number>} */ #awaiting = new Map();
  #listening = new AbortController();

  get state() {
    return this.#state;
  }

  /** Whether it plays, or would if all had arrived. */
  get wanted() {
    return this.#wanted;
  }

  get rate() {
    return this.#base;
  }

  /** The length of the longest clip, in seconds. */
  get length() {
    return Math.max(0, ...this.#alive().map(length));
  }

  /** Where it is, in seconds. */
  get position() {
    return this.#target ?? this.#leader()?.video.currentTime ?? 0;
  }

  /** Which clips the others are waiting for, as indices. */
  get missing() {
    if (this.#state !== 'waiting') return [];
    return this.#players.flatMap(({ video }, index) => (video.error === null && !here(video) ? [index] : []));
  }

  /** Which clips the others went on without, as indices. */
  get late() {
    return this.#players.flatMap(({ video }, index) => (this.#late.has(video) && video.error === null ? [index] : []));
  }

  /**
   * Takes these clips from now on. Where it stood and whether it played stay as they were; those that are left out stop.
   * @param {Player[]} players
   */
  take(players) {
    const position = this.position;
    this.#listening.abort();
    this.#listening = new AbortController();
    const kept = new Set(players.map(({ video }) => video));
    for (const { video } of this.#players) if (!kept.has(video)) video.pause();
    this.#players = players;
    this.#late.clear();
    for (const { video } of players) this.#listen(video);
    document.addEventListener('visibilitychange', () => this.#returned(), { signal: this.#listening.signal });
    return this.seek(position);
  }

  /** Stops, and takes the sources off, so that no download goes on. */
  end() {
    this.#turn += 1;
    this.#listening.abort();
    this.#wanted = false;
    this.#state = 'paused';
    for (const { video } of this.#players) {
      video.pause();
      video.removeAttribute('src');
      video.load();
    }
    this.#players = [];
  }

  play() {
    this.#wanted = true;
    return this.seek(this.#atEnd() ? 0 : this.position);
  }

  pause() {
    this.#wanted = false;
    for (const { video } of this.#players) video.pause();
    // Those that were a frame apart show the same instant now.
    return this.seek(this.position);
  }

  toggle() {
    return this.#wanted ? this.pause() : this.play();
  }

  /** @param {number} base */
  setRate(base) {
    this.#base = base;
    this.#correcting.clear();
    for (const { video } of this.#players) video.playbackRate = base;
    this.#say('change');
  }

  /** Pauses and shows the frame after or before. @param {number} frames */
  step(frames) {
    this.#wanted = false;
    const fps = this.#leader()?.fps ?? FALLBACK_FPS;
    return this.seek(Math.min(frame(this.position, frames, fps), this.length));
  }

  /**
   * Sound of one, or of none.
   * @param {HTMLVideoElement | null} one
   */
  sound(one) {
    for (const { video } of this.#players) video.muted = video !== one;
  }

  /**
   * Takes all to one place and, if it shall play, starts them once all can. Of places that are asked for in quick
   * succession only the last is gone to.
   * @param {number} position
   */
  async seek(position) {
    this.#next = position;
    this.#target = position;
    if (this.#moving) return;
    this.#moving = true;
    try {
      while (this.#next !== null) {
        const next = this.#next;
        this.#next = null;
        await this.#gather(next);
      }
    } finally {
      this.#moving = false;
    }
    this.#start();
  }

  /** @param {number} position */
  async #gather(position) {
    const turn = this.#turn;
    this.#set('waiting');
    this.#awaiting.clear();
    for (const { video } of this.#alive()) video.pause();
    await Promise.all(
      this.#alive().map(async (player) => {
        const asked = this.#late.has(player.video) ? 0 : PATIENCE_MS;
        if (!(await arrive(player, position, asked))) this.#late.add(player.video);
        if (this.#state === 'waiting' && turn === this.#turn) this.#say('change');
      }),
    );
  }

  #start() {
    const position = this.#target ?? 0;
    this.#target = null;
    if (!this.#wanted || this.#alive().length === 0) return this.#set('paused');
    this.#set('playing');
    for (const player of this.#alive()) {
      if (position < length(player) - 0.001) this.#run(player.video);
    }
    requestAnimationFrame(this.#tick);
  }

  /** @param {HTMLVideoElement} video */
  #run(video) {
    video.playbackRate = this.#base;
    video.play().catch((error) => {
      // A pause that came meanwhile is no fault. A browser that refuses sound or play is said by the button.
      if (error.name === 'NotAllowedError' && this.#wanted) this.pause();
    });
  }

  #tick = () => {
    if (this.#state !== 'playing') return;
    const leader = this.#leader();
    if (leader === undefined) return;
    const position = leader.video.currentTime;
    const running = this.#alive().filter((player) => !this.#late.has(player.video) && runs(player, position));
    const last = Math.min(...running.map(({ video }) => video.currentTime));
    for (const player of running) {
      if (this.#waits(player.video, last)) continue;
      if (player !== leader) this.#pace(player.video, player.video.currentTime - position, position);
      if (player.video.paused && here(player.video)) this.#run(player.video);
    }
    this.#say('position');
    requestAnimationFrame(this.#tick);
  };

  /** Whether a clip stands still until the last one is there; not for long, in case that one never comes. @param {HTMLVideoElement} video @param {number} last */
  #waits(video, last) {
    const since = this.#awaiting.get(video);
    const now = performance.now();
    if (awaits(video.currentTime - last, since !== undefined) && now - (since ?? now) < AWAITED_MS) {
      if (since === undefined) this.#awaiting.set(video, now);
      video.pause();
      return true;
    }
    this.#awaiting.delete(video);
    return false;
  }

  /** @param {HTMLVideoElement} video @param {number} drift @param {number} position */
  #pace(video, drift, position) {
    const next = rate(drift, this.#base, this.#correcting.has(video));
    if (next === null) {
      video.currentTime = position;
      this.#correcting.delete(video);
    } else if (next !== video.playbackRate) {
      video.playbackRate = next;
      if (next === this.#base) this.#correcting.delete(video);
      else this.#correcting.add(video);
    }
  }

  /** @param {HTMLVideoElement} video */
  #listen(video) {
    const { signal } = this.#listening;
    video.addEventListener('ended', () => this.#ended(video), { signal });
    video.addEventListener('waiting', () => this.#starved(video), { signal });
    video.addEventListener('canplay', () => this.#late.delete(video) && this.#say('change'), { signal });
    video.addEventListener('loadedmetadata', () => this.#say('change'), { signal });
    video.addEventListener('error', () => this.#failed(), { signal });
  }

  /** @param {HTMLVideoElement} video */
  #ended(video) {
    if (this.#state === 'playing' && this.#leader()?.video === video) void this.seek(0);
  }

  /** @param {HTMLVideoElement} video */
  #starved(video) {
    if (this.#state !== 'playing' || video.ended || video.seeking || this.#late.has(video)) return;
    // Just before its end a clip has nothing more to come.
    if (video.duration - video.currentTime > FAR_SECONDS && !here(video)) void this.seek(this.position);
  }

  #failed() {
    this.#say('change');
    // Another one leads now, and nobody waits for this one.
    if (this.#state === 'playing') void this.seek(this.position);
  }

  #returned() {
    // A page that is not seen does not tick, and some browsers stop what it plays.
    if (document.visibilityState === 'visible' && this.#state === 'playing') void this.seek(this.position);
  }

  #alive() {
    return this.#players.filter(({ video }) => video.error === null);
  }

  /** @returns {Player | undefined} */
  #leader() {
    const ready = this.#alive().filter(({ video }) => !this.#late.has(video));
    return ready.toSorted((one, other) => length(other) - length(one))[0];
  }

  #atEnd() {
    return this.length > 0 && this.position >= this.length - 0.001;
  }

  /** @param {State} state */
  #set(state) {
    this.#state = state;
    this.#say('change');
  }

  /** @param {string} type */
  #say(type) {
    this.dispatchEvent(new Event(type));
  }
}
