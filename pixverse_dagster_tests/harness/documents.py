"""Writes the pages and tables that derive from the code: `python -m pixverse_dagster_tests.harness.documents`.

`docs/parameters.md`, `docs/configuration.md`, and the JSON Schemas of manifests and of what commands print are made as
a whole, in `docs/architecture.md` what stands between `<!-- generated: NAME -->` and `<!-- end -->`.
"""

import ast
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

import pixverse_dagster
from pixverse_dagster.cli import cli
from pixverse_dagster.cli.documents import JsonOption
from pixverse_dagster.core.lifecycle import TRANSITIONS, Event, FailureKind, TaskState
from pixverse_dagster.core.manifest import MANIFEST_VERSION, ClipManifest
from pixverse_dagster.orchestration.environment import variables
from pixverse_dagster.policy.endings import HOLDS, ROWS, SLOTS, TASKS, WAITS
from pixverse_dagster.reports.verify import KINDS
from pixverse_dagster.storage import STORES, load_settings
from pixverse_dagster.tables.formats import format_names
from pixverse_dagster_tests.harness import parameters

PACKAGE = Path(pixverse_dagster.__file__).parent
CONFIGURATION = """# Configuration

The project's own definitions, `pixverse_dagster.definitions`, are configured by variables of the environment alone.
A project of your own sets the same in YAML or in Python: the option `PIXVERSE_RETRY` is `options: {{retry: …}}` of the
component and `PipelineOptions(retry=…)`; the setting `PIXVERSE_S3_BUCKET` is `store: {{s3: {{bucket: …}}}}`.

Prompt tables in files are {formats} files.

| variable | meaning | default |
|---|---|---|
"""
STORES_HEAD = """
## Stores

| store | setting | meaning |
|---|---|---|
"""


def configuration() -> str:
    """The page of the variables and of the stores' settings."""
    lines = [f"| `{v.name}` | {v.meaning} | {f'`{v.default}`' if v.default else ''} |\n" for v in variables()]
    stores: list[str] = []
    for store in STORES:
        fields = load_settings(store).all_fields()
        stores += [f"| `{store}` | `{name}` | {info.description or ''} |\n" for name, info in fields.items()]
    return CONFIGURATION.format(formats=format_names()) + "".join(lines) + STORES_HEAD + "".join(stores)


def layers() -> str:
    """A line for each folder, out of its first line."""
    lines = ["| folder | is | may import |", "|---|---|---|"]
    for path in sorted(PACKAGE.glob("*/__init__.py")):
        first = (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()[0]
        if found := re.fullmatch(r"(.+?)[.:]? May import: (.+)\.", first):
            lines.append(f"| `{path.parent.name}/` | {found.group(1)} | {found.group(2)} |")
    return "\n".join(lines)


def moves() -> str:
    """A line for each event of a task's life."""
    lines = ["| event | from | to | who | money | only if |", "|---|---|---|---|---|---|"]
    for event, move in TRANSITIONS.items():
        kinds = f" ({', '.join(move.kinds)})" if len(move.kinds) < len(FailureKind) else ""
        leaves = ", ".join(f"{state}{kinds * (state is TaskState.FAILED)}" for state in move.leaves) or "nothing"
        guard = move.guard or ""
        lines.append(f"| {event} | {leaves} | {move.to or 'the same'} | {move.who} | {move.money} | {guard} |")
    return "\n".join(lines)


def diagram() -> str:
    """The ways between the states; who only stays where it is is left out."""
    ways: dict[TaskState, list[str]] = {}
    for event, move in TRANSITIONS.items():
        for state in move.leaves:
            if move.to not in {None, state}:
                ways.setdefault(state, []).append(f"{move.to} ({event})")
    start = f"(none) ─► {TRANSITIONS[Event.CLAIM].to}"
    return "\n".join(["```", start, *(f"{state} ─► {', '.join(to)}" for state, to in ways.items()), "```"])


def endings() -> str:
    """A line for each condition of a task, a row, a wait and a slot, and what ends it."""
    lines = ["| of | condition | ends by itself with | or by a person, with |", "|---|---|---|---|"]
    for of, table in {"task": TASKS, "row": ROWS, "wait": WAITS, "slot": SLOTS, "hold": HOLDS}.items():
        lines += [f"| {of} | {name} | {ending.by_itself} | {ending.by_person} |" for name, ending in table.items()]
    return "\n".join(lines)


def compared() -> str:
    """A line for each kind of discrepancy that `verify` names."""
    lines = [
        f"| {kind.compares}{' (`--deep`)' * kind.deep} | {kind.right} | {kind.money} | "
        f"{f'`--repair`: {kind.repair}' if kind.repair else 'a person'} |"
        for kind in KINDS
    ]
    return "\n".join(["| compared | likely right, if not so | for money | mended by |", "|---|---|---|---|", *lines])


def manifest_schema() -> str:
    """The JSON Schema of manifests. Keys that it does not name are a later release's, and allowed."""
    found = ClipManifest.model_json_schema()
    comment = {"$comment": f"version {MANIFEST_VERSION}"}
    found = {**comment, **found, "required": ["version", *found["required"]]}
    return _schema("pixverse_dagster/core/manifest.schema.json", found)


def _schema(path: str, found: Mapping[str, Any]) -> str:
    """The text of a schema, with where it is published."""
    repository = "https://github.com/pixverse-dagster/pixverse-dagster/blob/main"
    about = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"{repository}/{path}"}
    return json.dumps({**about, **found}, indent=2) + "\n"


def json_commands(group: click.Group = cli, *path: str) -> Iterator[tuple[tuple[str, ...], click.Option]]:
    """The words of every command that has `--json`, and the option."""
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from json_commands(command, *path, name)
            continue
        for option in command.params:
            if "--json" in option.opts and isinstance(option, click.Option):
                yield (*path, name), option


def schema_path(words: Iterable[str]) -> str:
    """Where the schema is of what a command prints with `--json`."""
    return f"docs/schemas/{'-'.join(words)}.json"


def _document_schema(path: str, option: JsonOption) -> str:
    return _schema(path, option.schema)


SCHEMAS: Mapping[str, Callable[[], str]] = {
    schema_path(words): partial(_document_schema, schema_path(words), option)
    for words, option in json_commands()
    if isinstance(option, JsonOption)
}
PAGES: Mapping[str, Callable[[], str]] = {
    **SCHEMAS,
    "docs/parameters.md": parameters.render,
    "docs/configuration.md": configuration,
    "pixverse_dagster/core/manifest.schema.json": manifest_schema,
}
BLOCKS: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "docs/architecture.md": {"layers": layers, "moves": moves, "states": diagram, "endings": endings},
    "docs/operating.md": {"verify": compared},
}


def with_blocks(page: str, blocks: Mapping[str, Callable[[], str]]) -> str:
    """A page with its generated parts as they are now."""
    for name, render in blocks.items():
        pattern = rf"(<!-- generated: {name} -->\n).*?(<!-- end -->)"
        page, count = re.subn(pattern, lambda m, render=render: f"{m[1]}{render()}\n{m[2]}", page, flags=re.DOTALL)
        if count != 1:
            raise ValueError(f"no place for {name}")
    return page


def rendered(root: Path) -> Iterable[tuple[Path, str]]:
    """Each page below this root, and what it must say."""
    yield from ((root / name, render()) for name, render in PAGES.items())
    yield from ((root / name, with_blocks((root / name).read_text(), blocks)) for name, blocks in BLOCKS.items())


def main() -> None:
    """Write them all, in the working folder or the one that is named."""
    for path, text in list(rendered(Path(sys.argv[1] if len(sys.argv) > 1 else "."))):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
