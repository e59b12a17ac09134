"""The simulator's settings, and its faults: which there are and when they happen. All draws derive from the seed."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final, Literal

KEY: Final = "simulator"
"""The key that is always accepted, and the name of its account."""
_ACCOUNT: Final = re.compile(r"[a-z0-9_-]{1,64}")
SAMPLES_DIR: Final = Path(__file__).resolve().parent.parent / "samples" / "images"

SUBMIT_KINDS: Final = ("submit.rate_limited", "submit.refused_503", "submit.server_error", "submit.lost_response")
POLL_KINDS: Final = ("poll.dropped", "poll.server_error")
TASK_KINDS: Final = ("task.stuck", "task.moderated")
DOWNLOAD_KINDS: Final = ("media.dropped", "media.truncated", "media.corrupt", "media.slow")
KINDS: Final = (
    *SUBMIT_KINDS,
    *POLL_KINDS,
    "poll.unknown_status",
    *TASK_KINDS,
    "task.failed",
    *DOWNLOAD_KINDS,
    "media.expired",
)
Sick = Literal["hang", "slow", "error", "html", "wrong_ids", "wrong_types", "flood", "away"]
"""What one provider can have from some moment on, until it is healed."""
SickPart = Literal["all", "api", "media"]


def _no_faults() -> dict[str, float]:
    return {}


def _no_keys() -> dict[str, str]:
    return {}


@dataclass(frozen=True)
class Settings:
    """How the simulator behaves: how long a clip takes and a link to it lasts, and the rate of each fault, from 0 to 1.

    `keys` says of further API keys whose account each is of. Several keys of one account see the same tasks; a task of
    another account is not known. All prices are multiplied by `charge_factor`. `images` says of URLs in which file the
    image is: they are not fetched.
    `memory` is a file in which all is kept that a simulator that is started again has to know.

    Raises:
        ValueError: an unknown fault, a rate outside 0 to 1, a duration that is negative or not finite, a key that no
            header can carry, or a name of an account that is not made of small letters, digits, '-' and '_'.
    """

    generation_seconds: float = 5.0
    link_seconds: float = 3600.0
    faults: Mapping[str, float] = field(default_factory=_no_faults)
    seed: int = 0
    samples_dir: Path | None = None
    keys: Mapping[str, str] = field(default_factory=_no_keys)
    images: Mapping[str, Path] = field(default_factory=dict[str, Path])
    memory: Path | None = None
    charge_factor: float = 1.0

    def __post_init__(self) -> None:
        for name, seconds in (("generation_seconds", self.generation_seconds), ("link_seconds", self.link_seconds)):
            if not (math.isfinite(seconds) and seconds >= 0):
                raise ValueError(f"{name} must be 0 or more, not {seconds}")
        if not (math.isfinite(self.charge_factor) and self.charge_factor > 0):
            raise ValueError(f"charge_factor must be above 0, not {self.charge_factor}")
        for kind, rate in self.faults.items():
            if kind not in KINDS:
                raise ValueError(f"unknown fault {kind!r}; known are {', '.join(sorted(KINDS))}")
            if not 0 <= rate <= 1:
                raise ValueError(f"the rate of {kind} must be from 0 to 1, not {rate}")
        for key, account in self.keys.items():
            if not key or key != key.strip() or not (key.isascii() and key.isprintable()):
                raise ValueError("a key has printable ASCII characters, and no space at its ends")
            if not _ACCOUNT.fullmatch(account):
                raise ValueError(f"an account's name has 1 to 64 small letters, digits, '-' and '_', not {account!r}")

    def account(self, key: str | None) -> str | None:
        """Whose key it is; None if it is not accepted."""
        return None if key is None else {**self.keys, KEY: KEY}.get(key)


def parse_fault(text: str) -> tuple[str, float]:
    """Reads `KIND=RATE` from a command line; kind and range are checked by `Settings`.

    Raises:
        ValueError: not of that form.
    """
    kind, equals, rate = text.partition("=")
    try:
        return kind.strip(), float(rate)
    except ValueError:
        reason = f"{rate!r} is not a number" if equals else "there is no '='"
        raise ValueError(f"a fault is given as KIND=RATE, not {text!r}: {reason}") from None


def parse_image(text: str) -> tuple[str, Path]:
    """Reads `URL=FILE` from a command line.

    Raises:
        ValueError: not of that form, or there is no such file.
    """
    url, equals, file = text.rpartition("=")
    if not equals or not Path(file).is_file():
        raise ValueError(
            f"an image is given as URL=FILE, not {text!r}: {'there is no such file' if equals else 'no ='}"
        )
    return url, Path(file)


def parse_key(text: str) -> tuple[str, str]:
    """Reads `KEY=ACCOUNT` from a command line; both are checked by `Settings`.

    Raises:
        ValueError: not of that form.
    """
    key, equals, account = text.rpartition("=")
    if not equals:
        raise ValueError("a key is given as KEY=ACCOUNT: there is no '='")
    return key, account


class Faults:
    """Draws the faults. Each kind has its own random generator, so that its draws do not depend on those of others."""

    def __init__(self, settings: Settings) -> None:
        self._rates = dict(settings.faults)
        self._seed = str(settings.seed)
        self._dice: dict[str, Random] = {}
        self.drawn: Counter[str] = Counter()

    def set_rates(self, rates: Mapping[str, float]) -> None:
        """These rates from now on, and 0 for every other kind."""
        self._rates = dict(rates)

    def begin(self, starts: int) -> None:
        """Draw what comes after so many earlier starts of the same simulator."""
        self._seed += f":{starts}" if starts else ""

    def dice(self, name: str) -> Random:
        """The random generator of that name. The same seed and name give the same numbers."""
        if name not in self._dice:
            self._dice[name] = Random(f"{self._seed}:{name}")  # noqa: S311 - reproducible on purpose
        return self._dice[name]

    def strikes(self, kind: str) -> bool:
        """Whether this fault happens now. A rate of 0 never does, a rate of 1 always does."""
        rate = self._rates.get(kind, 0.0)
        happens = rate > 0 and self.dice(kind).random() < rate
        if happens:
            self.drawn[kind] += 1
        return happens

    def first(self, kinds: tuple[str, ...]) -> str | None:
        """The first of these kinds that happens now, or None. The kinds after it are not drawn."""
        return next((kind for kind in kinds if self.strikes(kind)), None)
