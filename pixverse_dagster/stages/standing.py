"""Whose the tasks of a session are, asked before anything is done with one; and those that are set aside, named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pixverse_dagster.core.outcomes import PollFact
from pixverse_dagster.core.task import Task, latest
from pixverse_dagster.core.values import iso
from pixverse_dagster.policy.identity import ASIDE_NOTE, Holder, Standing, judge_standing
from pixverse_dagster.stages.session import Session
from pixverse_dagster.transport.client import ProviderClient
from pixverse_dagster.transport.logs import get_logger

_log = get_logger()
_named: set[str] = set()


def present_holder(session: Session, client: ProviderClient) -> Holder:
    """The account of a client, with the key that it has now."""
    return Holder(client.account, client.world, client.provider.fingerprint(session.ledger.salt))


def find_standing(session: Session, task: Task, answer: PollFact | None = None) -> Standing:
    """Whose the task is, given what the provider answered about it, if it was asked.

    What an answer shows is remembered: the account's other tasks go on as well.
    """
    client = session.clients.get(task.provider)
    if client is None:
        return Standing.FOREIGN
    holder, present = Holder(task.account, task.world, task.key), present_holder(session, client)
    if holder.key == present.key and holder.world == present.world:
        return Standing.OWN
    accounts = session.ledger.accounts
    identities = accounts.identities(task.account)
    before = judge_standing(holder, present, identities)
    if answer is None or before is not Standing.UNPROVEN:
        return before
    after = judge_standing(holder, present, identities, answer)
    if after is Standing.OWN:
        _log.info("row %r: the answer shows that the present key is of account %s", task.row, task.account)
        accounts.confirm(task.account, present.key, [task.key], session.clock(), unkeyed=[task.id])
    return after


def set_aside(session: Session, task: Task) -> Task:
    """Leave a task as it is, to be asked about later: no answer under the present key ends it."""
    age_seconds = session.clock() - task.claimed_at
    again_at = session.clock() + session.options.pace.aside_wait(age_seconds)
    return latest(session.ledger.keep_polling(task, ASIDE_NOTE, again_at))


def look_at_keys(session: Session) -> str:
    """Let tasks go on that were set aside and are of the present keys now; name those that stay aside, or ''.

    Named in the log once for each number of them.
    """
    ledger, name = session.ledger, session.pipeline.name
    aside: Counter[tuple[Holder, str]] = Counter()
    for (provider, holder), held in ledger.tasks.holders(name, ASIDE_NOTE).items():
        client = session.clients.get(provider)
        if client is None:
            continue
        present = present_holder(session, client)
        standing = judge_standing(holder, present, {})
        if standing is not Standing.OWN:
            standing = judge_standing(holder, present, ledger.accounts.identities(holder.account))
        if standing is Standing.OWN:
            ledger.polling.soon(held.noted, ASIDE_NOTE, session.clock())
        elif holder.world in {present.world, "live"}:
            aside[holder, present.account] += len(held.ids)
            if standing is Standing.UNPROVEN:
                ledger.accounts.see_key(present.account, present.key, session.clock())
    sentence = " ".join(_describe(session, holder, now, count) for (holder, now), count in sorted(aside.items()))
    if sentence and sentence not in _named:
        _named.add(sentence)
        _log.warning("%s", sentence)
    return sentence


def _describe(session: Session, holder: Holder, present: str, count: int) -> str:
    tasks, belong, they = ("task", "belongs", "it") if count == 1 else ("tasks", "belong", "they")
    stay, go = ("stays", "goes") if count == 1 else ("stay", "go")
    if holder.account != present:
        return (
            f"{count} {tasks} {belong} to account {holder.account}, and this pipeline works with {present}: {they} "
            f"{stay} as {they} {'is' if count == 1 else 'are'}, and {go} on when that account is there again."
        )
    again = "when that key is there again, or" if holder.key else "only"
    seen = {key.fingerprint: key.first_seen_at for key in session.ledger.accounts.find_keys(holder.account)}
    since = f", first seen {iso(seen[holder.key])[:10]}" if holder.key in seen else ""
    key = f"key {holder.key[:6]}{since}, not the present one" if holder.key else "a key that is not known"
    return (
        f"{count} {tasks} {belong} to account {holder.account} under {key}: {they} {stay} as {they} "
        f"{'is' if count == 1 else 'are'}, {they} may be asked about and nothing else, and {go} on {again} "
        "when an answer shows that the account is the same. If you know that it is: "
        f"{session.commands.render('accounts', 'confirm', holder.account)}."
    )


def split_by_standing(session: Session, tasks: Sequence[Task]) -> dict[Standing, list[Task]]:
    """The tasks by whose they are."""
    known: dict[tuple[str, Holder], Standing] = {}
    found: dict[Standing, list[Task]] = {}
    for task in tasks:
        same = task.provider, Holder(task.account, task.world, task.key)
        if same not in known:
            known[same] = find_standing(session, task)
        found.setdefault(known[same], []).append(task)
    return found
