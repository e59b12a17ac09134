"""The commands that messages name: each works as it is pasted, from any folder."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

PROGRAM = "pixverse-dagster"


@dataclass(frozen=True)
class CommandLine:
    """What a command needs to find the project again: where its definitions, its pipeline and its home are.

    What is empty is left out: nobody knows it, and the reader's own folder and environment have to say it.
    """

    module: str = ""
    """The module that Dagster loads."""
    python_file: str = ""
    """The file that Dagster loads, where it is not a module."""
    working_directory: str = ""
    """Where modules are imported from, if they are not installed. Alone, the folder that the project is found from."""
    pipeline: str = ""
    home: str = ""
    """The Dagster home."""
    program: str = PROGRAM

    def tasks(self, verb: str, row: str, *options: str) -> str:
        """The command `tasks VERB` on a row."""
        return self.render("tasks", verb, *options, row=row)

    def render(self, *words: str, row: str | None = None) -> str:
        """A command as a shell takes it. The options that find the project stand at its end.

        A row that begins with a dash stands last, behind `--`, and is taken for a row all the same.
        """
        dashed = row is not None and row.startswith("-")
        verbs = next((n for n, word in enumerate(words) if word.startswith("-")), len(words))
        first = [] if row is None or dashed else [row]
        last = ["--", row] if row is not None and dashed else []
        return shlex.join([self.program, *words[:verbs], *first, *words[verbs:], *self._options(), *last])

    def _options(self) -> list[str]:
        given = {
            "-m": self.module,
            "-f": self.python_file,
            "-d": self.working_directory,
            "--pipeline": self.pipeline,
            "--home": self.home,
        }
        return [word for option, value in given.items() if value for word in (option, value)]
