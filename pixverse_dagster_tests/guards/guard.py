"""A guard: a few words of code that a promise rests on, how they are broken, and which tests notice it."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PROMISES = {
    "P1": "a request is paid for at most once",
    "P2": "the intent is on record before a submit leaves, the task's id before anything else happens",
    "P3": "an outcome that nobody knows is a state of its own, and never sent again blindly",
    "P4": "a failed read changes nothing about the task",
    "P5": "`stored` is true only after every byte, and the manifest after them",
    "P6": "a stored clip is never overwritten, and deleted only by a person who names it",
    "P7": "money is reserved before it is spent, and budgets hold for all processes together",
    "P8": "keys, tokens and signed links are shown nowhere",
    "P9": "text of a table or a provider is data, and a result's URL is fetched only within limits",
    "P10": "what is done to a task, a claim or a clip is done only by its own",
    "P11": "the store is asked before anybody is paid",
    "P12": "a fault stays where it is, and everything has an end",
}
"""What users are promised, in short."""


class GuardMoved(LookupError):
    """The code of a guard is not where the list has it: the entry is mended together with the code."""


@dataclass(frozen=True)
class Guard:
    """One guard. `module` is below `pixverse_dagster`; `function` is a function, class or value in it, as `Class.name`.

    `snippet` stands exactly once in it; with `broken` in its place at least one of `tests` fails. They are below
    `pixverse_dagster_tests`, as pytest names them, the cheapest that can notice it. `wrong` says what would go wrong.
    """

    name: str
    promise: str
    module: str
    function: str
    snippet: str
    broken: str
    tests: tuple[str, ...]
    wrong: str

    @property
    def path(self) -> Path:
        """The file, below the root of the project."""
        return Path("pixverse_dagster", *self.module.split(".")).with_suffix(".py")


def break_guard(root: Path, guard: Guard) -> str:
    """The text of the guard's file without the guard. Raises GuardMoved, or SyntaxError where what is left is none."""
    where = root / guard.path
    if not where.is_file():
        raise GuardMoved(f"guard {guard.name!r}: {guard.path} is not there")
    text = where.read_text()
    places = _places(text)
    if guard.function not in places:
        raise GuardMoved(f"guard {guard.name!r}: {guard.path} has no {guard.function}")
    begin, end = places[guard.function]
    lines = text.splitlines(keepends=True)
    inside = "".join(lines[begin:end])
    if (count := inside.count(guard.snippet)) != 1:
        raise GuardMoved(
            f"guard {guard.name!r}: its code stands {count} times in {guard.path}, {guard.function}. Where the code "
            f"moved, mend the entry; where the guard went, so did what keeps {guard.promise}: {guard.wrong}"
        )
    broken = "".join(lines[:begin]) + inside.replace(guard.snippet, guard.broken) + "".join(lines[end:])
    ast.parse(broken)
    return broken


@cache
def _places(text: str) -> dict[str, tuple[int, int]]:
    """Where each function, class and value of a module stands: its lines, from one and up to before the other."""
    found: dict[str, tuple[int, int]] = {}

    def walk(nodes: list[ast.stmt], prefix: str) -> None:
        for node in nodes:
            names: list[str] = []
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names = [node.name]
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = [target.id for target in targets if isinstance(target, ast.Name)]
            for name in names:
                found[prefix + name] = (node.lineno - 1, node.end_lineno or node.lineno)
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                walk(node.body, f"{prefix}{node.name}.")

    walk(ast.parse(text).body, "")
    return found
