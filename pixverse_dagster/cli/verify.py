"""`verify`: ledger, store, manifests and Dagster compared, and what is free to mend, mended."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence

import click
from rich.console import Console
from rich.progress import Progress

from pixverse_dagster.cli.documents import Document, json_option, print_json
from pixverse_dagster.cli.output import print_table
from pixverse_dagster.cli.project import Project, ProjectChoice, project_options
from pixverse_dagster.cli.repair import Repaired, repair
from pixverse_dagster.orchestration.events.reported import ReportedRows
from pixverse_dagster.reports.verify import Discrepancy, Verification
from pixverse_dagster.reports.verify import verify as compare
from pixverse_dagster.reports.verify.remedies import find_remedy

_SHOWN = 100


class DisagreementDocument(Document):
    """What is not as it should be: where, which side is likely right, what it means for money, and what repairs it."""

    row: str
    where: str
    message: str
    kind: str
    right: str
    money: str
    repairable: bool
    remedy: str


class RepairDocument(Document):
    """What was done about a row; `failed` says why it could not be."""

    row: str
    what: str
    failed: str


class VerifyDocument(Document):
    """How much was compared, what disagrees, and what was repaired. With `deep`, every byte was read."""

    clips: int
    files: int
    deep: bool
    bytes_read: int
    disagreements: list[DisagreementDocument]
    repaired: list[RepairDocument]


@click.command()
@project_options
@click.option("--deep", is_flag=True, help="Read and hash every byte, and decode every clip; else sizes are compared.")
@click.option("--repair", "mend", is_flag=True, help="Mend what costs nothing and loses nothing; each is named.")
@json_option(VerifyDocument)
def verify(choice: ProjectChoice, *, deep: bool, mend: bool, as_json: bool) -> None:
    """Compare ledger, store, manifests and Dagster, and name every discrepancy.

    Of each: what differs, which side is likely right, what it means for money, and the command that repairs it. Spends
    nothing; without --repair, changes nothing. Exits with 1 if there is a discrepancy, with --repair if one is left.
    """
    with choice.open_kept() as project:
        result = _compare(project, deep=deep)
        done: list[Repaired] = []
        if mend and any(one.repair for one in result.disagreements):
            done = repair(project, result.disagreements)
            result = _compare(project, deep=deep)
        if as_json:
            print_json(_document(project, result, done))
        else:
            _print(project, result, done)
    sys.exit(1 if result.disagreements else 0)


def _compare(project: Project, *, deep: bool) -> Verification:
    with Progress(console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("clips compared", total=None)
        return compare(
            project.ledger,
            project.store,
            project.name,
            deep=deep,
            dagster=ReportedRows(project.instance, project.spec, project.name),
            progress=lambda done, total: bars.update(bar, completed=done, total=total),
        )


def _document(project: Project, result: Verification, done: Sequence[Repaired]) -> VerifyDocument:
    return VerifyDocument(
        clips=result.clips,
        files=result.files,
        deep=result.deep,
        bytes_read=result.bytes_read,
        disagreements=[_record(project, one) for one in result.disagreements],
        repaired=[RepairDocument(row=one.row, what=one.what, failed=one.failed) for one in done],
    )


def _record(project: Project, one: Discrepancy) -> DisagreementDocument:
    return DisagreementDocument(
        row=one.row,
        where=one.where,
        message=one.message,
        kind=one.kind.name,
        right=str(one.kind.right),
        money=one.kind.money,
        repairable=one.repair is not None,
        remedy=find_remedy(one, project.commands),
    )


def _print(project: Project, result: Verification, done: Sequence[Repaired]) -> None:
    for one in done:
        click.echo(f"row {one.row!r}: {one.what}" + (f": FAILED: {one.failed}" if one.failed else ""))
    found, commands = result.disagreements, project.commands
    count = "1 disagreement" if len(found) == 1 else f"{len(found)} disagreements"
    free = sum(one.repair is not None for one in found)
    more = f", {free} of which are mended for free by {commands.render('verify', '--repair')}" if free else ""
    click.echo(f"{result.clips} stored clips, {result.files} files: {count}{more}.")
    looked = (
        f"Every byte was read ({result.bytes_read} bytes), and every clip decoded."
        if result.deep
        else "Not looked at: the bytes of clips, posters and images, of which only the sizes were compared: "
        + commands.render("verify", "--deep")
    )
    click.echo(looked)
    if not found:
        return
    print_table("Disagreements", ["row", "where", "what"], [[d.row, d.where, d.message] for d in found[:_SHOWN]])
    if len(found) > _SHOWN:
        click.echo(f"… and {len(found) - _SHOWN} more; all of them: {commands.render('verify', '--json')}")
    for kind, number in Counter(one.kind for one in found).most_common():
        first = next(one for one in found if one.kind is kind)
        click.echo(f"\n{kind.name} ({number}). Likely right: {kind.right}. For money: {kind.money}.")
        click.echo(f"  To repair{' the first' if number > 1 else ''}: {find_remedy(first, commands)}")
