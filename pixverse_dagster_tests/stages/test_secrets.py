"""A provider that repeats whatever it was sent: no key, token or signature stays anywhere but in the request itself."""

import json
import logging
import socket
from pathlib import Path

import pytest
import sqlalchemy as sa

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.outcomes import Accepted, Succeeded
from pixverse_dagster.core.task import latest
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.policy.budget import Budget
from pixverse_dagster.stages.collect import collect_tasks
from pixverse_dagster.stages.poll import poll_due
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster_tests.harness.factories import (
    NAME,
    NOW,
    PIXWITH,
    RUN,
    RUNWARE,
    Setup,
    make_row,
    record_rows,
    session_in,
    submit_all,
)
from pixverse_dagster_tests.harness.raw_http import Server, head

KEY = "sk-echo/Canary+0123456789=xyz"
WEBHOOK = "https://hooks.example/in/T0kenInPath77?token=hook-canary-token"
UPLOAD = "https://up.example/kite.mp4?X-Goog-Signature=upload-canary-signature"
SIGNATURE = "result-canary-signature"
SECRETS = (KEY, KEY.replace("/", "\\/"), "T0kenInPath77", "hook-canary-token", "upload-canary-signature", SIGNATURE)
WHOLE = {"request", "body", "urls"}
"""The columns that hold a request as it is sent, and result links while they are needed."""


class Echo:
    """A server that answers with this status, and with what it was sent in each field in which a provider may."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.server = Server(self.answer)

    def answer(self, connection: socket.socket, number: int) -> None:
        sent = self.server.requests[number - 1].decode(errors="replace")
        said = f"Incorrect API key provided: {sent}"
        body = {"message": said, "code": 0, "reason": said, "errors": [{"code": "oops", "message": said}]}
        data = json.dumps(body).replace("/", "\\/").encode()
        connection.sendall(head(self.status, f"Content-Length: {len(data)}", f"X-Echo: {KEY}") + data)


@pytest.mark.parametrize("status", [200, 401, 429, 500])
def test_a_provider_that_repeats_what_it_was_sent_gives_no_secret_away(
    tmp_path: Path, status: int, caplog: pytest.LogCaptureFixture
):
    """Neither in what a person is told, nor in the ledger's words, nor in a log, also of the HTTP libraries."""
    echo = Echo(status)
    url = f"http://127.0.0.1:{echo.server.port}"
    rows = [make_row("hooked", RUNWARE, webhook_url=WEBHOOK, upload_endpoint=UPLOAD), make_row("plain", PIXWITH)]
    try:
        with caplog.at_level(logging.DEBUG), session_in(tmp_path, url, Setup(key=KEY)) as session:
            said = [f"{one.problem} {one.waits}" for one in submit_all(session, rows).values()]
            assert any(KEY in request.decode() for request in echo.server.requests)
            late = make_row("late", RUNWARE)
            record_rows(session.ledger, [*rows, late])
            task, _ = session.ledger.claim(NAME, late, ClaimTerms(RUN, NOW, 60, None, Budget()))
            session.ledger.accept(task, Accepted(task.client_reference), NOW, NOW)
            poll_due(session, 10)
            (task,) = session.ledger.tasks.find(NAME, keys=["late"])
            link = f"{url}/clips/Canary.mp4?sig={SIGNATURE}"
            task = latest(session.ledger.succeed(task, Succeeded((link,)), NOW))
            assert task.state is TaskState.SUCCEEDED
            said += [one.problem for one in collect_tasks(session, LocalStore(tmp_path / "store"), [task])]
        assert "".join(said).strip()
        assert [text for text in said for secret in SECRETS if secret in text] == []
        assert "Canary.mp4" not in "".join(said)
        assert [line for line in caplog.text.splitlines() for secret in SECRETS if secret in line] == []
        assert [cell for cell in words(tmp_path / "ledger.db") for secret in SECRETS if secret in cell] == []
    finally:
        echo.server.close()


def words(database: Path) -> list[str]:
    """Every text in a ledger but the requests."""
    engine = sa.create_engine(f"sqlite:///{database}")
    found: list[str] = []
    with engine.connect() as connection:
        for table in sa.inspect(engine).get_table_names():
            for record in connection.exec_driver_sql(f'SELECT * FROM "{table}"').mappings():  # noqa: S608 - our tables
                found += [str(value) for name, value in record.items() if name not in WHOLE]
    engine.dispose()
    return found
