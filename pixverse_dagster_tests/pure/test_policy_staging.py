"""How an image gets to a provider, and how long a copy counts."""

from __future__ import annotations

import pytest

from pixverse_dagster.policy.staging import INLINE_BYTES, Means, Picture, Way, choose_way, sent_as, still_holds

HIGHWAY, HIGHWAY_ALONE = Means(inline=False, uploads=False, links=True), Means(inline=False, uploads=False, links=False)
PIXWITH = Means(inline=False, uploads=True, links=False)
RUNWARE = Means(inline=True, uploads=True, links=False, upload_max_side=2048)
WEB, UUID = Picture(is_web=True), Picture(is_uuid=True)
SMALL = Picture(size_bytes=1000, long_side=500)
LARGE = Picture(size_bytes=INLINE_BYTES + 1, long_side=2048)
WIDE = Picture(size_bytes=INLINE_BYTES + 1, long_side=2049)
CONVERTED = Picture(is_web=True, is_converted=True, size_bytes=1000, long_side=500)

WAYS = [
    (WEB, (Way.AS_NAMED, Way.AS_NAMED, Way.AS_NAMED, Way.AS_NAMED)),
    (UUID, (Way.AS_NAMED, Way.AS_NAMED, Way.AS_NAMED, Way.AS_NAMED)),
    (SMALL, (Way.LINK, Way.NONE, Way.UPLOAD, Way.INLINE)),
    (LARGE, (Way.LINK, Way.NONE, Way.UPLOAD, Way.UPLOAD)),
    (WIDE, (Way.LINK, Way.NONE, Way.UPLOAD, Way.INLINE)),
    (CONVERTED, (Way.LINK, Way.NONE, Way.UPLOAD, Way.INLINE)),
]


@pytest.mark.parametrize(("picture", "ways"), WAYS)
def test_what_a_provider_can_take_by_itself_it_takes(picture: Picture, ways: tuple[Way, ...]):
    """Else it is sent along, uploaded or put behind a link; what was converted is nowhere on the web."""
    assert tuple(choose_way(picture, means) for means in (HIGHWAY, HIGHWAY_ALONE, PIXWITH, RUNWARE)) == ways


def test_the_manifest_tells_the_ways_apart():
    """A link and an upload are both staged."""
    assert [sent_as(way, is_uuid=False) for way in (Way.AS_NAMED, Way.INLINE, Way.UPLOAD, Way.LINK)] == [
        "url",
        "inline",
        "staged",
        "staged",
    ]
    assert sent_as(Way.AS_NAMED, is_uuid=True) == "uuid"


HOLDS = [
    (None, 0.0, True),
    (1e9, 0.0, False),
    (100.0, 89.0, True),
    (100.0, 91.0, False),
    (100.0, 100.0, False),
    (100.0, 200.0, False),
]


@pytest.mark.parametrize(("expires_at", "now", "holds"), HOLDS)
def test_a_copy_counts_until_a_tenth_of_its_time_is_left(expires_at: float | None, now: float, *, holds: bool):
    """So that it is there as long as the request that names it may wait."""
    assert still_holds(expires_at, 0.0, now) is holds
