"""`accounts list` and `accounts confirm`: whose keys these are, and what waits for one that is not there."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import click

from pixverse_dagster.cli.documents import Document, json_option, print_json
from pixverse_dagster.cli.output import print_table
from pixverse_dagster.cli.project import Project, ProjectChoice, project_options
from pixverse_dagster.core.manifest import World
from pixverse_dagster.core.values import iso
from pixverse_dagster.ledger.accounts import AccountKey
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.policy.identity import Holder, Standing, judge_standing
from pixverse_dagster.stages.standing import present_holder

_SHOWN = 8
_MEANING = {
    Standing.OWN: "",
    Standing.UNPROVEN: "not shown to be of the present key's account: asked about, and nothing else",
    Standing.FOREIGN: "not the present account: left as they are",
}


class AccountDocument(Document):
    """A key of an account: `key` is the beginning of its digest, null where it is not known."""

    account: str
    world: World
    key: str | None
    present: bool
    first_seen_at: str | None
    confirmed_at: str | None
    open_tasks: int
    standing: Standing


@dataclass(frozen=True)
class _Line:
    """A key of an account, as the ledger knows it, and how it stands to the present one."""

    holder: Holder
    known: AccountKey | None
    present: bool
    open_tasks: int
    standing: Standing

    @property
    def meaning(self) -> str:
        """What holds for its tasks; empty for the present key, and for those of the same account."""
        return _MEANING[self.standing] if self.open_tasks or self.standing is Standing.UNPROVEN else ""

    def export(self) -> AccountDocument:
        """The line for machines."""
        known = self.known
        return AccountDocument(
            account=self.holder.account,
            world=self.holder.world,
            key=self.holder.key[:_SHOWN] or None,
            present=self.present,
            first_seen_at=iso(known.first_seen_at) if known else None,
            confirmed_at=iso(known.confirmed_at) if known and known.confirmed_at else None,
            open_tasks=self.open_tasks,
            standing=self.standing,
        )


@click.group()
def accounts() -> None:
    """Provider accounts, and the API keys that were seen for them. No key is ever shown, only a salted digest of it."""


@accounts.command("list")
@project_options
@json_option(list[AccountDocument])
def list_accounts(choice: ProjectChoice, *, as_json: bool) -> None:
    """Every account of the ledger: its keys, since when, open tasks under each, and what is not shown to be its own."""
    with choice.open_all() as projects:
        found = [(project, line) for project, lines in _by_ledger(projects) for line in lines]
    if as_json:
        print_json([line.export() for _, line in found])
        return
    records = [
        [
            line.holder.account,
            line.holder.world,
            (line.holder.key[:_SHOWN] or "not known") + (" (present)" if line.present else ""),
            iso(line.known.first_seen_at) if line.known else "",
            iso(line.known.confirmed_at) if line.known and line.known.confirmed_at else "",
            str(line.open_tasks),
            line.meaning,
        ]
        for _, line in found
    ]
    columns = ["account", "world", "key", "first seen", "confirmed", "open tasks", "what holds for them"]
    print_table("Accounts", columns, records)
    unproven = {line.holder.account: project for project, line in found if line.standing is Standing.UNPROVEN}
    for account, project in sorted(unproven.items()):
        confirm = project.commands.render("accounts", "confirm", account)
        click.echo(f"If the present key is of the same account as all others of {account}: {confirm}")


@accounts.command("confirm")
@click.argument("account", metavar="NAME")
@click.option("--key", metavar="KEY", default="", help="Only this key, by the beginning that `accounts list` shows.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@project_options
def confirm_account(account: str, choice: ProjectChoice, *, key: str, dry_run: bool) -> None:
    """Say that the present key and the others seen for account NAME are of one account: a key was rotated.

    What was submitted with them is then polled, stored, replayed and ended under the present key. Costs nothing by
    itself; a submit without an answer may be sent again under its own id. If the keys are of two accounts, that id is
    not known at the other one, and it would be paid for a second time: look first.
    """
    with choice.open_all() as projects:
        found = [(project, line) for project, lines in _by_ledger(projects) for line in lines]
        mine = [(project, line) for project, line in found if line.holder.account == account]
        if not mine:
            known = ", ".join(sorted({line.holder.account for _, line in found})) or "none"
            raise click.UsageError(f"the ledger knows no account {account!r}; it knows: {known}")
        project = mine[0][0]
        present = _present(project, account)
        others = [
            line for _, line in mine if line.standing is not Standing.OWN and line.holder.key.startswith(key)
        ]  # fmt: skip
        if not others:
            click.echo(f"account {account}: nothing to confirm, everything is of the present key's account already.")
            return
        _say(account, others, present, dry_run=dry_run)
        if dry_run:
            return
        ledger, now = project.ledger, time.time()
        unkeyed = [] if key else ledger.accounts.unkeyed(account)
        ledger.accounts.confirm(account, present.key, [line.holder.key for line in others], now, unkeyed=unkeyed)


def _say(account: str, others: list[_Line], present: Holder, *, dry_run: bool) -> None:
    would = "would be" if dry_run else "is"
    for line in others:
        key = f"key {line.holder.key[:_SHOWN]}" if line.holder.key else "a key that is not known"
        since = f", first seen {iso(line.known.first_seen_at)}" if line.known else ""
        click.echo(
            f"account {account}: {key}{since}, {would} of one account with the present key {present.key[:_SHOWN]}; "
            f"{line.open_tasks} open tasks go on under it."
        )


def _present(project: Project, account: str) -> Holder:
    """The key that a project has now for an account's provider. Raises UsageError if it is of the other world."""
    with project.open() as session:
        client = session.clients.get(account.partition("/")[0])
        if client is None:
            raise click.UsageError(f"{project.name!r} has no resource for {account.partition('/')[0]!r}: add one")
        present = present_holder(session, client)
    if present.world != _world(account):
        raise click.UsageError(
            f"account {account!r} is {_world(account)}, and {project.name!r} works with {present.account}: what was "
            "made in one world never counts in the other. Nothing was changed"
        )
    return present


def _world(account: str) -> Any:
    return "simulator" if account.rpartition("/")[2] == "simulator" else "live"


def _by_ledger(projects: list[Project]) -> Iterator[tuple[Project, list[_Line]]]:
    """The lines of each ledger, with a pipeline that keeps it. Pipelines may share one."""
    for ledger_id in {project.ledger.id: None for project in projects}:
        of_ledger = [project for project in projects if project.ledger.id == ledger_id]
        yield of_ledger[0], _lines(of_ledger[0].ledger, _present_holders(of_ledger))


def _present_holders(projects: list[Project]) -> dict[str, Holder]:
    """The account of each provider now, by the provider's name; the first pipeline that has it counts."""
    found: dict[str, Holder] = {}
    with ExitStack() as stack:
        for session in [stack.enter_context(project.open()) for project in projects]:
            for provider, client in session.clients.items():
                found.setdefault(provider, present_holder(session, client))
    return found


def _lines(ledger: Ledger, present: dict[str, Holder]) -> list[_Line]:
    keys = {Holder(key.account, _world(key.account), key.fingerprint): key for key in ledger.accounts.find_keys()}
    counts = ledger.accounts.open_by_key()
    lines: list[_Line] = []
    for holder in sorted({*keys, *counts, *present.values()}):
        now = present.get(holder.account.partition("/")[0])
        identities = ledger.accounts.identities(holder.account)
        standing = judge_standing(holder, now, identities) if now else Standing.FOREIGN
        lines.append(_Line(holder, keys.get(holder), holder == now, counts.get(holder, 0), standing))
    return lines
