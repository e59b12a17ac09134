"""What a person does about a discrepancy: the complete command."""

from __future__ import annotations

import shlex

from pixverse_dagster.core.commands import CommandLine
from pixverse_dagster.reports.verify.findings import Discrepancy


def find_remedy(one: Discrepancy, commands: CommandLine) -> str:
    """What repairs it: a command that is complete, or what to do and then the command."""
    again = commands.render("verify", "--repair")
    if one.repair is not None:
        return f"{again} (to {one.repair})"
    row = one.row or "ROW"
    move = _move(one)
    return one.kind.remedy.format(
        retake=commands.tasks("retry", row, "--take"),
        aside=f"{move} && {again}",
        move=move,
        forget=commands.render("clips", "forget", row=row),
        show=commands.tasks("show", row),
        rebuild=commands.render("ledger", "rebuild"),
        backup="the copies that `ledger backup` made are whole databases: put one in the ledger's place, then "
        + commands.render("ledger", "rebuild"),
        rename=commands.render("ledger", "rename", "--help"),
        submit=commands.render("plan"),
    )


def _move(one: Discrepancy) -> str:
    """The command that moves the file out of the store into the reader's folder, where nothing of it is lost."""
    name = one.key.rpartition("/")[2] or "file"
    if one.where.startswith("s3://"):
        return shlex.join(["aws", "s3", "mv", one.where, f"./moved-{name}"])
    return shlex.join(["mv", "-n", one.where, f"./moved-{name}"])
