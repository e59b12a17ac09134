"""Downstream of `clips`: a reel with sound for each campaign, and a short of each clip for phones.

`reel` takes all clips at once, `short` one clip for each row: between them, both ways of taking `clips` as an input.
"""

import base64
import hashlib
import os
from collections import defaultdict
from pathlib import Path
from urllib.parse import quote

import dagster as dg
from cutting import Cut, Style, cut

from pixverse_dagster import Clip
from pixverse_dagster import definitions as project

NAME = os.environ.get("PIXVERSE_NAME") or "demo"
CLIPS = dg.AssetKey([NAME, "clips"])
ROWS = dg.DynamicPartitionsDefinition(name=f"{NAME}_rows")
LABEL = "campaign"


class Films(dg.ConfigurableResource):  # pyright: ignore[reportMissingTypeArgument]
    """Where films go."""

    folder: str

    def path(self, kind: str, name: str) -> Path:
        """The film's place. A label or a row's name is somebody's text: it never becomes a path as it is."""
        words = quote(name, safe="").replace(".", "%2E")[:60]
        return Path(self.folder) / kind / f"{words}-{hashlib.sha256(name.encode()).hexdigest()[:8]}.mp4"


@dg.asset(
    key=[NAME, "reel"],
    ins={"clips": dg.AssetIn(CLIPS, partition_mapping=dg.AllPartitionMapping())},
    group_name=NAME,
    kinds={"mp4"},
)
def reel(context: dg.AssetExecutionContext, clips: dict[str, Clip], films: Films) -> dg.Output[dict[str, str]]:
    """The first two seconds of every clip of a campaign, in order of the table, one film for each campaign."""
    campaigns: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips.values():
        campaigns[clip.labels.get(LABEL, "")].append(clip)
    cuts: dict[str, Cut] = {}
    for campaign, scenes in campaigns.items():
        cuts[campaign] = cut([clip.open for clip in scenes], films.path("reels", campaign))
        context.log.info("%d clips make a reel of %.1f s", cuts[campaign].clips, cuts[campaign].seconds)
    rows = [
        {LABEL: campaign, "clips": film.clips, "seconds": film.seconds, "path": str(film.path)}
        for campaign, film in cuts.items()
    ]
    return dg.Output(
        {campaign: str(film.path) for campaign, film in cuts.items()},
        metadata={
            "reels": dg.MetadataValue.table([dg.TableRecord(row) for row in rows]),
            "clips": sum(film.clips for film in cuts.values()),
            "duration_seconds": sum(film.seconds for film in cuts.values()),
            "size_bytes": sum(film.size_bytes for film in cuts.values()),
            "posters": dg.MetadataValue.md("".join(_poster(scenes[0]) for scenes in campaigns.values())),
        },
    )


@dg.asset(
    key=[NAME, "short"],
    ins={"clip": dg.AssetIn(CLIPS)},
    partitions_def=ROWS,
    group_name=NAME,
    kinds={"mp4"},
)
def short(clip: Clip, films: Films) -> dg.Output[str]:
    """The whole clip, upright for phones, with a sound track whatever the clip has."""
    upright = Style(width=270, height=480, seconds=None)
    film = cut([clip.open], films.path("shorts", clip.manifest.row), upright)
    metadata = {
        "dagster/uri": str(film.path),
        "duration_seconds": film.seconds,
        "size_bytes": film.size_bytes,
        "poster": dg.MetadataValue.md(_poster(clip)),
    }
    return dg.Output(str(film.path), metadata=metadata)


def _poster(clip: Clip) -> str:
    with clip.open_poster() as poster:
        return f"![poster](data:image/jpeg;base64,{base64.b64encode(poster.read()).decode()})\n"


FOLDER = os.environ.get("FILMS_DIR") or str(Path(os.environ.get("DAGSTER_HOME", ".")) / "films")
defs = dg.Definitions.merge(
    project.defs, dg.Definitions(assets=[reel, short], resources={"films": Films(folder=FOLDER)})
)
