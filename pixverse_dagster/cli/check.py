"""`check`: whether a pipeline is ready to pay, and what a first live run should record."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from pixverse_dagster.cli.documents import Document, json_option, print_json
from pixverse_dagster.cli.project import Project, ProjectChoice, project_options
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.stages.balance import beside
from pixverse_dagster.stages.checkup import Finding, check_pipeline
from pixverse_dagster.stages.recorded import ask_oddities, record_to
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.store import describe

_OPEN_SECONDS = 20.0
_MARKS = {"ok": "ok    ", "note": "note  ", "failed": "FAILED"}
_COSTS = {"nothing": "free", "first clip": "with the first clip", "further clip": "one more clip"}


class FindingDocument(Document):
    """What was found of one part, and what mends it."""

    part: str
    result: str
    detail: str
    fix: str


class QuestionDocument(Document):
    """What is only assumed about a provider, and what would settle it."""

    provider: str
    question: str
    assumed: str
    record: str
    costs: str


class AnswerDocument(Document):
    """What a free call of which nobody knows the answer for certain came to."""

    provider: str
    asked: str
    answer: str


class CheckDocument(Document):
    """Whether the pipeline is ready, and of `--live`, what is open."""

    pipeline: str
    ready: bool
    findings: list[FindingDocument]
    questions: list[QuestionDocument]
    answers: list[AnswerDocument]
    record: str | None


@click.command()
@click.option("--live", is_flag=True, help="Also say what a first live run should record, and make the free calls.")
@click.option(
    "--record",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Keep every request and answer there, a file each, with keys and permissions cut.",
)
@project_options
@json_option(CheckDocument)
def check(choice: ProjectChoice, *, live: bool, record: Path | None, as_json: bool) -> None:
    """Whether everything is there that a paid submit needs: table, ledger, store, keys, providers. Spends nothing.

    Only free calls are made, each with a time limit. Keys are named, never shown. Exits with 1 if something failed,
    with the command that mends it.
    """
    with choice.open() as project:
        opened = beside({"ledger": project.open}, time.monotonic() + _OPEN_SECONDS)["ledger"]
        if isinstance(opened, Session):
            with opened as session:
                document = _look(project, session, record, live=live)
        else:
            document = _document(project, [_no_ledger(project, opened)], None)
    if as_json:
        print_json(document)
    else:
        _print(document, project, live=live)
    sys.exit(0 if document.ready else 1)


def _look(project: Project, session: Session, record: Path | None, *, live: bool) -> CheckDocument:
    if record:
        record_to(session, record)
    document = _document(project, check_pipeline(session), record)
    if not live:
        return document
    until = time.monotonic() + _OPEN_SECONDS
    found = beside({name: lambda one=one: ask_oddities(one) for name, one in session.clients.items()}, until)
    answers = [
        AnswerDocument(provider=name, asked=asked, answer=answer)
        for name, said in found.items()
        if isinstance(said, dict)
        for asked, answer in said.items()
    ]
    questions = [
        QuestionDocument(provider=name, question=q.question, assumed=q.assumed, record=q.record, costs=q.costs)
        for name, client in session.clients.items()
        for q in client.provider.QUESTIONS
    ]
    return document.model_copy(update={"answers": answers, "questions": questions})


def _no_ledger(project: Project, error: Exception) -> Finding:
    again = project.commands.render("check")
    fix = f"mend the database, or name another one with PIXVERSE_LEDGER_URL or LedgerResource(url=…); then {again}"
    return Finding("ledger", "failed", f"it cannot be opened: {describe(error)}", fix)


def _document(project: Project, findings: Sequence[Finding], record: Path | None) -> CheckDocument:
    return CheckDocument(
        pipeline=project.name,
        ready=all(one.result != "failed" for one in findings),
        findings=[
            FindingDocument(part=one.part, result=one.result, detail=one.detail, fix=one.fix) for one in findings
        ],
        questions=[],
        answers=[],
        record=str(record) if record else None,
    )


def _print(document: CheckDocument, project: Project, *, live: bool) -> None:
    """The verdict first; then the parts, those that failed before the others."""
    failed = [one for one in document.findings if one.result == "failed"]
    verdict = "is ready" if document.ready else f"is not ready: {', '.join(dict.fromkeys(one.part for one in failed))}"
    click.echo(f"Pipeline {document.pipeline} {verdict}. Nothing was spent.")
    order = {"failed": 0, "note": 1, "ok": 2}
    for one in sorted(document.findings, key=lambda one: order[one.result]):
        click.echo(redact_text(f"{_MARKS[one.result]} {one.part}: {one.detail}"))
        if one.fix:
            click.echo(f"       → {redact_text(one.fix)}")
    for answer in document.answers:
        click.echo(redact_text(f"asked  {answer.provider}, {answer.asked}: {answer.answer}"))
    if live:
        _print_questions(document, project)


def _print_questions(document: CheckDocument, project: Project) -> None:
    click.echo("\nWhat is only assumed, and what a first live run should record:")
    for one in document.questions:
        click.echo(f"[ ] {one.provider}: {one.question} ({_COSTS[one.costs]})")
        click.echo(f"    assumed: {one.assumed}\n    record:  {one.record}")
    again = project.commands.render("check", "--live", "--record", "first-run")
    click.echo(f"\nTo keep the free calls: {again}")
    click.echo("To keep those of a run, before Dagster is started: export PIXVERSE_RECORD=first-run")
