"""Cells that show words in the place of a value: errors of spreadsheets, and what programs write for nothing. Pure."""

from __future__ import annotations

import re

_NOTHING = frozenset({
    "nan", "+nan", "-nan", "none", "null", "nil", "nat", "undefined", "<na>", "<null>", "(null)", "[null]", "\\n",
    "n/a", "na", "#na", "#n/a n/a", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan",
})  # fmt: skip
"""What programs write where a value is missing: pandas, R, SQL, JavaScript, C."""
_ERROR = re.compile(r"#[^\W\d_][\w/. ]{0,30}[!?]|#N/?[A-Z]|#N/?D|#(GETTING_DATA|SPILL|CALC|FIELD|BLOCKED|UNKNOWN|BUSY|CONNECT)!?|#NOT_CALCULATED!|Err:\d{3}", re.IGNORECASE)  # fmt: skip  # noqa: E501
"""What a spreadsheet shows where a formula fails, in any language: #REF!, #BEZUG!, #N/A, #NV, #DIV/0!, Err:502."""


def is_null_word(text: str) -> bool:
    """Whether a text stands for nothing: a word that a program wrote in the place of a value, or a failed formula."""
    word = text.strip()
    return len(word) <= 40 and (word.lower() in _NOTHING or is_error_word(word))  # noqa: PLR2004 - longer is a text


def is_error_word(text: str) -> bool:
    """Whether a text is what a spreadsheet shows in the place of a failed formula's value."""
    return _ERROR.fullmatch(text.strip()) is not None
