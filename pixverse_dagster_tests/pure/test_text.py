"""Texts that are too long: cut behind a sentence, and said to be cut; what is said of money comes first."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pixverse_dagster
from pixverse_dagster.core.errors import OutcomeUnknown, Refused
from pixverse_dagster.core.row import Problem
from pixverse_dagster.core.text import CUT, shorten
from pixverse_dagster.providers.base import Provider
from pixverse_dagster_tests.harness.answers import PROVIDERS, SUBMITS, UUID, declined, oops
from pixverse_dagster_tests.harness.hostile import TEXTS, examples

PACKAGE = Path(pixverse_dagster.__file__).parent
ENDS = r"[.!?](?=\s)|[\u3002\uff01\uff1f]|.(?=\n)"
CASES = [
    ("It is not sent again. Look for it.", 40, "It is not sent again. Look for it."),
    ("It is not sent again. Look for it in the console.", 40, f"It is not sent again.{CUT}"),
    ("First. Second! Third? Fourth, which is long", 32, f"First. Second! Third?{CUT}"),
    ("One line\nAnother line that is far too long", 30, f"One line{CUT}"),
    ("at https://a.example/x.png?… it is gone for ever", 40, f"at https://a.example/x.png?… it{CUT}"),
    ("HTTP 500.5 is no status that anybody knows of", 30, f"HTTP 500.5 is no{CUT}"),
    ("x" * 50, 20, "x" * (20 - len(CUT)) + CUT),
    ("任务不存在。请重试请重试请重试请重试请重试请重试", 20, f"任务不存在。{CUT}"),
    ("", 10, ""),
]


@pytest.mark.parametrize(("text", "limit", "expected"), CASES)
def test_a_long_text_ends_behind_a_sentence_and_says_that_it_was_cut(text: str, limit: int, expected: str):
    """Half a sentence may say the opposite: only one that is too long by itself ends behind a word."""
    assert shorten(text, limit) == expected


def test_what_is_left_is_the_beginning_and_fits():
    """Whatever the text: short ones as they are, and a short one stays what it is."""

    @examples(300)
    @given(
        st.lists(st.sampled_from(["It", "is", "not", "sent", "again.", "Look!", "HTTP", "500", "\n"]), max_size=60).map(
            " ".join
        )
        | st.sampled_from(TEXTS)
        | st.text(max_size=200),
        st.integers(len(CUT) + 1, 150),
    )
    def check(text: str, limit: int) -> None:
        short = shorten(text, limit)
        assert len(short) <= limit
        assert shorten(short, limit) == short
        if short == text:
            return
        assert len(text) > limit
        left = short.removesuffix(CUT)
        assert short != left
        assert text.startswith(left)
        ends = [end for found in re.finditer(ENDS, text) if (end := found.end()) <= limit - len(CUT)]
        assert not ends or left in {text[:end] for end in ends}

    check()


LONG = "The service is in trouble and says so at length, in one sentence that has no end " * 30


@pytest.mark.parametrize("provider", PROVIDERS, ids=str)
@pytest.mark.parametrize("status", [200, 400, 401, 402, 403, 404, 408, 429, 500, 502, 503])
def test_what_is_said_of_the_money_comes_before_what_the_provider_says(provider: Provider, status: int):
    """However long the provider's words are, and wherever a terminal or a page ends."""
    bodies = [
        LONG,
        {"code": 0, "message": LONG},
        oops("INVALID_REQUEST_BODY", LONG),
        declined("invalidSeed", message=LONG),
    ]
    bodies += [body for other, at, body, _ in SUBMITS if other is provider and at == status]
    for body in bodies:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        said, verdict = refusal_of(provider, httpx.Response(status, content=content))
        assert said.startswith(verdict), said


def refusal_of(provider: Provider, response: httpx.Response) -> tuple[str, str]:
    """What an answer to a submit is said to be, and how that has to begin; nothing if it accepts."""
    try:
        provider.read_submit(response, UUID)
    except Refused as error:
        return str(error), "Not charged"
    except OutcomeUnknown as error:
        return str(error), "It may have been charged, and is not sent again"
    return "", ""


def test_the_words_of_a_problem_end_behind_a_sentence():
    """The remedy is whole, or it is said that something is missing."""
    problem = Problem(
        1, "r", "image", "The image is gone. " * 52 + "Nothing is paid for it, and nothing was sent again."
    )
    assert problem.message.endswith(f"The image is gone.{CUT}")
    assert len(problem.message) <= 1000


def test_no_module_cuts_texts_by_itself():
    """A slice with a number of characters in it cuts anywhere; `shorten` does not."""
    found = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if "simulator" not in path.parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Subscript)
        and isinstance(node.slice, ast.Slice)
        and node.slice.lower is None
        and isinstance(node.slice.upper, ast.Constant)
        and isinstance(node.slice.upper.value, int)
        and node.slice.upper.value >= 120
    ]
    assert found == []
