"""What README and the pages tell people to type is what the program takes, and is typed by a test.

A block of commands has a name: `<!-- command: NAME -->` in the line before it. `TYPED` says which test types it, or why
none does; either way its lines are parsed here, by the parsers of the commands themselves.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest

from pixverse_dagster.cli import cli
from pixverse_dagster.orchestration.scaffold import write_test

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "examples").glob("*/README.md"))]
TYPED = {
    "demo": "contract/test_docs.py::test_the_readme_has_each_command_on_one_line",  # CI's own job types it
    "test": "contract/test_docs.py::test_the_readme_has_each_command_on_one_line",  # .ci/run types it: this very run
    "after the demo": "end_to_end/test_pages.py::test_what_the_readme_says_after_the_demo",
    "project": "end_to_end/test_dg.py::test_the_readmes_way_to_a_new_project",
    "project pages": "end_to_end/test_dg.py::test_the_readmes_way_to_a_new_project",
    "project launch": "end_to_end/test_dg.py::test_the_readmes_way_to_a_new_project",
    "before going live": "end_to_end/test_dg.py::test_the_readmes_way_to_a_new_project",
    "own tests": "end_to_end/test_dg.py::test_the_test_that_the_scaffold_command_writes_passes",
    "live variables": "end_to_end/test_pages.py::test_the_variables_of_going_live_are_planned_without_a_charge",
    "gallery": "end_to_end/test_pages.py::test_what_the_page_of_the_gallery_says",
    "gallery elsewhere": "end_to_end/test_pages.py::test_what_the_page_of_the_gallery_says",
    "live plan": "end_to_end/test_examples.py::test_the_live_example_is_planned_before_anything_is_spent",
    "live pages": "end_to_end/test_examples.py::test_the_live_example_loads_without_any_key_and_sends_nothing",
    "quickstart": "end_to_end/test_dg.py::test_the_quickstart_passes_every_check_of_dg",
    "reel": "end_to_end/test_examples.py::test_reels_are_cut_from_the_clips_of_each_campaign",
    "compose": "needs Docker: end_to_end/test_production.py starts the same topology from the same files as processes",
}
"""By the name of a block: the test that types it or what it says, or a reason why none does."""


@dataclass(frozen=True)
class Block:
    """A block of commands of a page."""

    page: str
    name: str
    text: str

    def lines(self) -> Iterator[list[str]]:
        """The words of each command, without comments."""
        joined = self.text.replace("\\\n", " ")
        for line in joined.splitlines():
            for part in re.split(r"&&|;|\|(?!\|)", line):
                lexer = shlex.shlex(part, posix=True, punctuation_chars=False)
                lexer.whitespace_split, lexer.commenters = True, "#"
                if words := [word for word in lexer if word != "&"]:
                    yield words


FENCED = re.compile(r"(?:<!-- command: ([^>]+) -->\n)?```(?:bash|sh|console)\n(.*?)```", re.DOTALL)
BLOCKS = [
    Block(str(page.relative_to(ROOT)), found[1] or "", found[2])
    for page in PAGES
    for found in FENCED.finditer(page.read_text())
]


def test_every_block_of_commands_has_a_name_and_a_test_that_types_it_or_a_reason():
    """One that is new is entered in `TYPED`; one that is gone leaves it."""
    nameless = [f"{block.page}: {block.text.splitlines()[0]}" for block in BLOCKS if not block.name]
    assert nameless == []
    assert {block.name for block in BLOCKS} == set(TYPED)
    assert len({block.name for block in BLOCKS}) == len(BLOCKS)


@pytest.mark.parametrize("name", TYPED)
def test_the_test_that_types_a_block_is_there(name: str):
    """It exists by that name."""
    file, is_test, function = TYPED[name].partition("::")
    if is_test:
        source = (ROOT / "pixverse_dagster_tests" / file).read_text()
        assert f"def {function}(" in source, f"{name}: {TYPED[name]}"
    else:
        assert len(TYPED[name]) > 20, "a reason"


def find_command(words: list[str]) -> tuple[click.Command, list[str], list[str]]:
    """The command that words begin with, its path, and the words after it."""
    command: click.Command = cli
    path: list[str] = []
    words = list(words)
    while isinstance(command, click.Group) and words and words[0] in command.commands:
        path.append(words.pop(0))
        command = command.commands[path[-1]]
    return command, path, words


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name or block.page)
def test_every_command_of_a_block_is_taken_by_its_parser(block: Block):
    """Command, options and their values; whether a file is there is another matter."""
    for program, *words in block.lines():
        if Path(program).name != "pixverse-dagster":
            continue
        command, path, rest = find_command(words)
        assert path, f"{block.page}: there is no command {words[:1]}"
        assert not isinstance(command, click.Group), f"{block.page}: {' '.join(path)} is a group"
        try:
            command.make_context(path[-1], rest, **cli.context_settings)
        except click.BadParameter as error:
            assert "does not exist" in error.message, f"{block.page}: {' '.join(words)}: {error.message}"  # noqa: PT017


def options_of(command: click.Command) -> set[str]:
    """Every way to write an option of a command, or of the commands of a group."""
    if isinstance(command, click.Group):
        return set[str]().union(*map(options_of, command.commands.values()))
    return {word for one in command.params for word in (*one.opts, *one.secondary_opts)} | {"--help"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_stands_within_a_sentence_is_a_command_with_its_options(page: Path):
    """`tasks retry ROW --take` and the like, also as the table of commands writes them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for span in re.findall(r"`([^`\n]+)`", text):
        words = span.replace("\\|", " ").replace("[", " ").replace("]", " ").split()
        named = words[:1] == ["pixverse-dagster"]
        command, path, rest = find_command(words[named:])
        if named:
            assert path, f"{page.name}: {span}"
        if not path:
            continue
        # `read` and `verify` are words as well: what is no option after them is none of ours.
        used = {word.split("=")[0].rstrip("…") for word in rest if word.startswith("--")}
        assert used <= options_of(command), f"{page.name}: `{span}`: {sorted(used - options_of(command))}"


def test_the_table_of_commands_has_every_command():
    """As `pixverse-dagster --help` lists them, and those of its groups."""
    text = (ROOT / "docs" / "operating.md").read_text()
    table = " ".join(re.findall(r"`([^`\n]+)`", text[text.index("## Commands") : text.index("Every command has")]))
    names = [
        f"{name} {inner}".strip()
        for name, one in cli.commands.items()
        for inner in (one.commands if isinstance(one, click.Group) else [""])
    ]
    assert [name for name in names if not re.search(rf"\b{name}\b", table)] == []


PYTHON = {
    (page, section): blocks
    for page in PAGES
    for section in re.split(r"^## ", page.read_text(), flags=re.MULTILINE)
    if (blocks := re.findall(r"```python\n(.*?)```", section, re.DOTALL))
}
"""By page and section: the blocks of a section may go on from each other."""


@pytest.mark.parametrize(("page", "section"), PYTHON, ids=lambda part: getattr(part, "name", str(part).split("\n")[0]))
def test_the_python_of_a_page_runs(page: Path, section: str):
    """With the package's names at hand: what it builds is built, no key is read and nothing is sent."""
    names: dict[str, Any] = {}
    exec("import dagster as dg\nfrom pixverse_dagster import *", names)  # noqa: S102 - our own pages
    for text in PYTHON[page, section]:
        # Without this module's own `annotations`, of which Dagster takes none.
        exec(compile(text, str(page), "exec", dont_inherit=True), names)  # noqa: S102 - as above


def test_the_test_on_the_page_is_the_one_that_the_scaffold_writes(tmp_path: Path):
    """Word for word."""
    write_test(tmp_path, "trailers")
    assert (
        f"<!-- file: tests/test_trailers.py -->\n```python\n{(tmp_path / 'test_trailers.py').read_text()}```"
        in (ROOT / "docs" / "testing.md").read_text()
    )


def test_the_provider_on_the_page_is_the_one_that_a_test_adds():
    """`end_to_end/test_extension.py` adds that file to a copy of the package, and makes clips with it."""
    name = "pixverse_dagster_tests/harness/extension/acme.py"
    shown = f"<!-- file: {name} -->\n```python\n{(ROOT / name).read_text()}```"
    assert shown in (ROOT / "docs" / "providers.md").read_text()
