"""How well clips of unequal lengths stay together side by side: the worst distance in three loops, in Chromium.

    python -m benchmarks.gallery_sync [--loops 3] [--rounds 3]

At each frame of the page, every clip's place is compared with that of the longest one; a clip that is shorter is
compared with its own end. Frames where the clips are just being taken back to their start do not count.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pixverse_dagster_tests.harness.factories import PIXWITH, RUNWARE, make_row
from pixverse_dagster_tests.harness.gallery import Films, Shot, make_films
from pixverse_dagster_tests.harness.viewer import Viewer, open_chromium

LENGTHS = {"two": (5, 4), "five": (5, 8, 3, 4, 6), "six": (5, 8, 3, 4, 6, 5)}
MEASURE = """(loops) => new Promise((done) => {
  const videos = [...document.querySelectorAll('figure video')];
  const found = { worst: 0, frames: 0, over: 0, moves: 0, loops: 0 };
  for (const video of videos) video.addEventListener('seeking', () => found.moves++);
  const leader = videos.toSorted((one, other) => other.duration - one.duration)[0];
  let before = 0;
  const look = () => {
    const now = leader.currentTime;
    if (now < before - 0.5) found.loops++;
    before = now;
    if (!leader.paused && !leader.seeking) {
      const off = Math.max(...videos.map((video) => Math.abs(video.currentTime - Math.min(now, video.duration))));
      found.frames++;
      found.worst = Math.max(found.worst, off);
      if (off > 0.05) found.over++;
    }
    if (found.loops < loops) requestAnimationFrame(look);
    else done(found);
  };
  look();
})"""


def make(folder: Path) -> Films:
    """A gallery with a group of clips of one prompt for each number of them."""
    films = make_films(folder)
    for name, lengths in LENGTHS.items():
        for n, seconds in enumerate(lengths):
            row = make_row(f"{name}-{n}", (RUNWARE, PIXWITH)[n % 2], prompt=name, take=n + 1)
            films.add(Shot(row, (f"{seconds} s",)))
    films.write()
    return films


def measure(viewer: Viewer, films: Films, name: str, loops: int) -> dict[str, Any]:
    """What came out in so many loops of this group."""
    found = [path.relative_to(path.parents[2]) for path in sorted(films.root.glob(f"films/clips/{name}-*/*/1.mp4"))]
    viewer.open("#/compare/" + ",".join(quote(str(path.with_suffix(""))) for path in found))
    viewer.wait_for(f"document.querySelectorAll('figure video').length === {len(found)}")
    viewer.wait_for("[...document.querySelectorAll('figure video')].every((video) => video.duration > 0)")
    return viewer.page.evaluate(MEASURE, loops)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loops", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, open_chromium() as chromium:
        films = make(Path(folder))
        for name, lengths in LENGTHS.items():
            for _ in range(given.rounds):
                found = measure(chromium.view(films.page), films, name, given.loops)
                print(
                    f"{len(lengths)} clips of {', '.join(map(str, lengths))} s: worst {found['worst']:.3f} s in "
                    f"{found['loops']} loops, {found['over']} of {found['frames']} frames above 0.05 s, "
                    f"{found['moves']} moves; load {os.getloadavg()[0]:.1f}"
                )
                chromium.close_pages()


if __name__ == "__main__":
    main()
