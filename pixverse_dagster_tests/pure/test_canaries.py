"""What looks for secrets finds them in every form in which a server may repeat them, and nothing else."""

import base64
from collections.abc import Callable

import pytest

from pixverse_dagster_tests.harness.canaries import FORMS, Canaries, Canary

KEY, OTHER = Canary("the key"), Canary("another")


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_found_in_each_form_of_a_text_that_holds_it(form: str):
    """The text is written in that form as a whole, as servers do."""
    text = FORMS[form](f'Incorrect key: "{KEY.secret}"/<b>')
    assert [leak.canary for leak in Canaries([OTHER, KEY]).find("an answer", text)] == [KEY]


@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_secret_is_found_in_base64_with_whatever_stands_beside_it(before: int, encode: Callable[[bytes], bytes]):
    """Wherever it begins in the groups of three."""
    coded = encode(b"x" * before + KEY.secret.encode() + b" and more")
    assert [leak.canary for leak in Canaries([KEY, OTHER]).find("an answer", coded)] == [KEY]


def test_half_of_a_secret_is_one_and_what_is_no_secret_is_none():
    """Who cuts a text may cut a key."""
    assert list(Canaries([KEY]).find("a line", KEY.secret[: len(KEY.secret) // 2]))
    assert not list(Canaries([KEY]).find("a line", f"Canary {OTHER.secret}"))


def test_the_value_of_a_parameter_is_a_secret_and_its_name_is_none():
    """Also if the URL is written into another one."""
    signed = Canary("a signature", parameter="X-Amz-Signature")
    for text in ("?X-Amz-Signature=0123456789abcdef", "u=https%3A%2F%2Fx%3FX-Amz-Signature%3D0123456789abcdef"):
        assert list(Canaries([signed]).find("a line", text))
    assert not list(Canaries([signed]).find("a line", "?X-Amz-Signature=…&x=1"))
