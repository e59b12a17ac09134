"""What a task is likely to cost, where anything public says so.

Estimates only: the provider's own figure replaces them.
"""

from __future__ import annotations

from pixverse_dagster.models import Request
from pixverse_dagster.providers.runware import RunwareV45

# Runware publishes 0.299 USD for 5 s at 1080p (model page of pixverse:1@3). Its other sizes are scaled from that by
# PixVerse's own credits, 45 : 45 : 60 : 120, and doubled for 8 s or fast mode. HighwayAPI and Pixwith publish nothing.
_RUNWARE_5S_USD = {"360p": 0.112, "540p": 0.112, "720p": 0.150, "1080p": 0.299}


def estimate_usd(request: Request) -> float | None:
    """The likely price of the task in US dollars, all outputs together, or None where no figure is public."""
    if not isinstance(request, RunwareV45):
        return None
    double = request.duration_seconds > 5 or request.motion_mode == "fast"  # noqa: PLR2004 - seconds, as documented
    return round(_RUNWARE_5S_USD[request.effective_resolution()] * (2 if double else 1) * request.outputs, 6)
