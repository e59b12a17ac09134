"""What is killed in a soak and in a chaos run."""

from collections.abc import Sequence
from typing import Literal

Part = Literal["daemon", "worker", "code server"]
PARTS: Sequence[Part] = ("worker", "code server", "daemon")
