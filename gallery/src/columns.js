/** How many columns show clips the largest. */

const GAP_PX = 14;
/** Narrower than this, a caption and its buttons have no room. */
const LEAST_PX = 160;

/**
 * @param {{count: number, aspect: number, width: number, height: number, caption: number}} room `aspect` is width by height of
 *   a clip, `caption` what stands below each, in pixels as the room is.
 */
export function columns({ count, aspect, width, height, caption }) {
  let best = { columns: 1, width: 0 };
  for (let tried = 1; tried <= count; tried += 1) {
    const rows = Math.ceil(count / tried);
    const wide = (width - (tried - 1) * GAP_PX) / tried;
    if (tried > 1 && wide < LEAST_PX) break;
    const tall = (height - (rows - 1) * GAP_PX) / rows - caption;
    const shown = Math.min(wide, tall * aspect);
    // As good with fewer rows: less to move the eyes.
    if (shown > best.width * 1.02) best = { columns: tried, width: shown };
  }
  return { columns: best.columns, media: Math.max(80, Math.floor(best.width / aspect)) };
}
