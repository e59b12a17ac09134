"""What hostile input is made of: texts and JSON for hypothesis, and a server that answers as badly as it is told."""

import re
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from pixverse_dagster_tests.harness.counts import FULL

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""What no message that a person or a log is shown may have."""

IDS: list[str] = [
    "../../x", "..", ".", "...", ". .", "a/b", "/etc/passwd", "a\\b", "C:\\x", "CON", "con", "NUL.txt", "~",
    "~root", "-rf", "$(id)", "`id`", "${HOME}", "%2e%2e%2f", "%2F", "%00", "a%", "🪁", "👩‍👩‍👧‍👦", "é",
    "e\u0301", "É", "\ufb01", "fi", "\uff46\uff49", "\u0131", "I", "K", "\u212a", "kite", "Kite", "KITE",
    " kite ", "kite.", "kite ", "x" * 200, "x" * 201, "é" * 33, "é" * 34, "x" * 10_000, "é" * 10_000, "=1+1",
    "=cmd|' /C calc'!A0", "@SUM(A1)", "+1", "-1", "<script>alert(1)</script>", "<b>",
    "'; DROP TABLE rows; --", "a\x00b", "\x00", "a\tb", "a\nb", "a\r\nb", "\x1b[31m", "\ufeffid", "a\u202eb",
    "a\u200bb", "a\u2028b", "\u00a0", "", "a,b", 'a"b', "a...b", "a....b", "__proto__", "nan", "None", "null",
    "true", "1e5", "0", "01", "\uff11",
]  # fmt: skip
TEXTS: list[str] = [
    *IDS, "a kite", '=HYPERLINK("http://169.254.169.254")', "{{7*7}}", "{0}", "%s%n", "x" * 3000, "@hero",
    "@hero!", "file:///etc/passwd", "../../etc/passwd", "http://127.0.0.1/x", "http://[", "//[",
    "https://a.example/\x00", "data:,x", "data:image/png;base64,AAAA", "https://xn--/a.png", "A" * 300, "[",
    "[]", "{}", "[[[[", "[{}]", '[{"image": 1}]', "9" * 5000, "1e999", "inf",
]  # fmt: skip
RAW_JSON: list[str] = [
    "NaN", "Infinity", "-Infinity", "1e999", "-0", "9" * 400, "9" * 5000, '"\\ud800"', '"a\\udc00b"',
    '"\\u0000"', '"\\ud83d\\ude00"', "[" * 300 + "]" * 300, "[" * 990 + "]" * 990,
    '{"a":' * 500 + "1" + "}" * 500, "[" * 5000, "nul", "'x'", '"', "[1,]", '{"a":1,"a":2}', "\x00", "\x0b",
    '"\t"', "0x10", "\uff11",
]  # fmt: skip

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(TEXTS) | st.text(max_size=30)
)  # fmt: skip
json_values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def examples(count: int) -> settings:
    """The same examples in every run: as many as this with `--full`, and else the first third."""
    return settings(
        max_examples=count if FULL else -(-count // 3),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )
