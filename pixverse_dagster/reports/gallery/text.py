"""Text of other people's, as a gallery shows it."""

from __future__ import annotations

import re
from typing import Any

from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.text import shorten

_REASON_CHARACTERS = 500
_PATH = re.compile(r"(?<![\w./:~])(?:~?/|[A-Za-z]:\\)[^\s'\"<>|]*[/\\]([^\s/\\'\"<>|]*)")
"""A path of the machine that a message names: it says who works there."""


def say(text: str) -> str:
    """The text without known secrets, query strings and the paths of results."""
    return redact_text(text)


def say_why(text: str) -> str:
    """A reason, without the folders of files on this machine, cut to a limit."""
    return shorten(_PATH.sub(r"…/\1", say(text)), _REASON_CHARACTERS)


def trim(values: dict[str, Any]) -> dict[str, Any]:
    """Without what is empty or not so; 0 stays, for it says something."""
    return {name: value for name, value in values.items() if value or type(value) in {int, float}}
