"""Parameter types that several models share."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BeforeValidator, Field

from pixverse_dagster.core.request import VERBATIM

_MAX_ITEMS = 100


def one_of(*allowed: Any) -> AfterValidator:
    """A validator that allows a few numbers only. It sees numbers: pydantic has converted the text of a CSV cell."""
    words = " or ".join(str(item) for item in allowed)

    def check(value: Any) -> Any:
        if value not in allowed:
            raise ValueError(f"must be {words}")
        return value

    check.__doc__ = words  # printed in the parameter reference
    return AfterValidator(check)


def _from_json(value: Any) -> Any:
    """Parse a list that is written as JSON text, as in a CSV. Other values are unchanged."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"must be a JSON list: {error.msg} at character {error.pos + 1}") from None
        except ValueError:
            raise ValueError("must be a JSON list, and this one has a number that is too long") from None
        except RecursionError:
            raise ValueError("must be a JSON list, and this one is nested too deeply") from None
    # Every wrong item or key would give a message of its own.
    groups: list[Any] = [value, *cast("list[Any]", value)] if isinstance(value, list) else [value]
    for group in groups:
        if isinstance(group, list | dict) and (size := len(cast("list[Any]", group))) > _MAX_ITEMS:
            raise ValueError(f"must be a short JSON list, and here are {size} items")
    return cast("Any", value)


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


JsonList = BeforeValidator(_from_json)
UpperCase = BeforeValidator(_upper)
Resolution = Literal["360p", "540p", "720p", "1080p"]
Style = Literal["anime", "3d_animation", "clay", "comic", "cyberpunk"]
MotionMode = Literal["normal", "fast"]
Seed = Annotated[int, Field(ge=0, le=2_147_483_647)]
ImageReference = Annotated[str, Field(min_length=1), VERBATIM]
