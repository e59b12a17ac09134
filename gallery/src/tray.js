/** The chosen clips as small pictures; a click takes one away. */
import { element } from './dom.js';

/** @param {import('./types.js').App} app */
export function makeTray(app) {
  return app.chosen.ids.map((id) => {
    const card = app.gallery.find(id);
    const thumb = card && !app.links.ended() ? app.links.thumb(card) : null;
    const name = `Drop ${card?.prompt?.slice(0, 80) ?? card?.row ?? 'clip'}, ${card?.model ?? ''}`;
    return element(
      'button',
      { type: 'button', class: 'small', 'aria-label': name, title: name, on: { click: () => app.chosen.toggle(id) } },
      thumb ? element('img', { src: thumb, alt: '' }) : '▷',
    );
  });
}
