"""S3 servers with fewer rights or abilities: nothing is paid for that they cannot keep, nothing is overwritten."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.reports.verify import verify
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.store import enter_store, probe_store
from pixverse_dagster.stages.submit import submit_rows
from pixverse_dagster.storage.s3 import S3Store
from pixverse_dagster_tests.harness.factories import (
    NAME,
    make_row,
    poll_until,
    record_rows,
    session_in,
    submit_all,
)
from pixverse_dagster_tests.harness.putting import putting
from pixverse_dagster_tests.harness.s3_proxy import Manners, s3_proxy
from pixverse_dagster_tests.harness.servers import S3Server, Simulator
from pixverse_dagster_tests.harness.stored import collect_all, manifest_of, read

PREFIX = "team/films/"


@contextmanager
def seen(s3_bucket: tuple[S3Server, str], manners: Manners) -> Generator[S3Store]:
    """The bucket's prefix as a store, through a server of these manners."""
    server, bucket = s3_bucket
    with s3_proxy(server, manners) as proxy:
        client = proxy.client()
        try:
            yield S3Store(client, bucket, PREFIX)
        finally:
            client.close()


@pytest.fixture
def session(tmp_path: Path, server: Simulator) -> Iterator[Session]:
    with session_in(tmp_path, server.url) as session:
        yield session


@pytest.mark.parametrize("hides", [False, True])
def test_rights_to_the_prefix_alone_suffice(s3_bucket: tuple[S3Server, str], session: Session, *, hides: bool):
    """A new store is entered, paid for, filled, and verified; what is not there may be answered with 403."""
    with seen(s3_bucket, Manners(prefix=PREFIX, hides=hides)) as store:
        opened = replace(session, open_store=lambda: store)
        assert submit_all(opened, [make_row()])["kite"].sent
        tasks = poll_until(opened, lambda tasks: all(task.state is TaskState.SUCCEEDED for task in tasks), 30)
        manifest_of(collect_all(opened, store, tasks)["kite"])
        assert verify(session.ledger, store, NAME).disagreements == ()


@pytest.mark.parametrize(
    ("conditions", "words"),
    [("ignored", ("overwrites what is there", "If-None-Match")), ("501", ("cannot be written to", "NotImplemented"))],
)
def test_a_server_that_does_not_know_create_only_is_not_paid_for(
    s3_bucket: tuple[S3Server, str], session: Session, server: Simulator, conditions: str, words: tuple[str, ...]
):
    """Before the first submit, in one sentence. A task that was paid for earlier is stored where that is possible."""
    with seen(s3_bucket, Manners()) as store:
        opened = replace(session, open_store=lambda: store)
        assert submit_all(opened, [make_row("paid")])["paid"].sent
        tasks = poll_until(opened, lambda tasks: all(task.state is TaskState.SUCCEEDED for task in tasks), 30)
    with seen(s3_bucket, Manners(conditions=conditions)) as store:
        opened = replace(session, open_store=lambda: store, asked=type(session.asked)())
        keys = record_rows(session.ledger, [make_row("paid"), make_row("kite")])
        found = {one.row: one for one in submit_rows(opened, keys)}
        for word in (*words, "Nothing was sent", "still collected"):
            assert word in found["kite"].problem
        assert [task["client_reference"] for task in server.tasks()] == [tasks[0].client_reference]
        collected = collect_all(opened, store, tasks)["paid"]
        assert (collected.manifest is not None) == (conditions == "ignored")
    with seen(s3_bucket, Manners()) as store:
        assert probe_store(store, NAME) == ""


def test_nothing_is_overwritten_where_the_server_ignores_the_condition(s3_bucket: tuple[S3Server, str], tmp_path: Path):
    """It is looked first; the same bytes once more change nothing, and show what the server is like."""
    with seen(s3_bucket, Manners(conditions="ignored")) as store:
        enter_store(store, "one", NAME)
        put = putting(store, tmp_path)
        assert put("films/clips/kite/1.mp4", b"first")
        assert not put("films/clips/kite/1.mp4", b"other")
        assert read(store, "films/clips/kite/1.mp4") == b"first"
        assert put("films/clips/kite/1.mp4", b"first")
