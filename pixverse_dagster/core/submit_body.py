"""The body of a submit as it is kept for a replay: byte for byte what is sent, with inline images left out."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any, cast


def new_mark() -> str:
    """A word that stands for an inline image until the body is cut there; it occurs nowhere else."""
    return f"image-{uuid.uuid4().hex}"


def cut_body(envelope: Any, marks: Mapping[str, str]) -> str:
    """The JSON document of a submit as text to be kept, cut where its inline images belong.

    `marks` maps the words that stand for the images in `envelope` to their references.
    """
    text = json.dumps(envelope, ensure_ascii=False, separators=(",", ":"))
    pieces: list[Any] = [text]
    for mark, reference in marks.items():
        cut: list[Any] = []
        for piece in pieces:
            if isinstance(piece, str):
                first, *others = piece.split(mark)
                cut.append(first)
                for other in others:
                    cut += [{"image": reference}, other]
            else:
                cut.append(piece)
        pieces = cut
    return json.dumps(pieces)


def fill_body(kept: str, image: Callable[[str], str]) -> bytes:
    """What is sent, out of what was kept. `image` gives an inline image by its reference."""
    pieces = cast("list[Any]", json.loads(kept))
    # An image goes into a JSON string: the quotes around it are part of the text.
    texts = (piece if isinstance(piece, str) else json.dumps(image(piece["image"]))[1:-1] for piece in pieces)
    return "".join(texts).encode()
