"""A folder keeps every exchange with a provider: what it says stays, what it permits does not, and it is in no way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from pixverse_dagster.core.secrets import remember_secret
from pixverse_dagster.providers import PROVIDERS
from pixverse_dagster.stages.recorded import ask_oddities, record_to
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster.transport import recording
from pixverse_dagster.transport.recording import Recorder, cut_url, cut_value
from pixverse_dagster_tests.harness.factories import PIXWITH, deliver, make_row, record_rows, session_in
from pixverse_dagster_tests.harness.servers import Simulator

KEY = "sk-LIVE-73cf9e1a"


def records(folder: Path) -> list[dict[str, Any]]:
    """Every record, oldest first."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def test_a_run_is_recorded_from_its_submit_to_its_file(tmp_path: Path, server: Simulator) -> None:
    """Bodies and statuses are there; keys, the paths of links and the bytes of the clip are not."""
    with session_in(tmp_path, server.url) as session:
        record_to(session, tmp_path / "kept")
        deliver(session, LocalStore(tmp_path / "clips"), record_rows(session.ledger, [make_row("a", PIXWITH)]), 60)
    kept = records(tmp_path / "kept")
    assert {one["call"] for one in kept} == {"submit", "poll", "download"}
    submit = next(one for one in kept if one["call"] == "submit")
    assert submit["request"]["body"]["model_id"] == "2-27"
    assert submit["request"]["headers"]["api-key"] == "…"
    assert (submit["answer"]["status"], submit["answer"]["body"]["code"]) == (200, 1)
    (clip,) = [one for one in kept if one["call"] == "download"]
    assert clip["bytes"] > 1000
    assert len(clip["sha256"]) == 64
    link = [one for one in kept if one["call"] == "poll"][-1]["answer"]["body"]["data"]["result_urls"][0]
    assert link.startswith(server.url + "/….mp4?")
    assert link.endswith("X-Sim-Signature=…")
    text = "".join(path.read_text() for path in (tmp_path / "kept").iterdir())
    assert "X-Sim-Signature=…" in text
    assert '"simulator"' not in text
    assert {path.stat().st_mode & 0o077 for path in [tmp_path / "kept"]} == {0}


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.NAME)
def test_the_free_calls_of_a_first_look_are_recorded(tmp_path: Path, server: Simulator, provider: Any) -> None:
    """With the key and without it, and about a task that does not exist. Each provider says what is open."""
    with session_in(tmp_path, server.url) as session:
        recorder = record_to(session, tmp_path / "kept")
        said = ask_oddities(session.clients[provider.NAME])
    assert "Unauthorized" in said["the account, with a wrong key"]
    assert {"the account", "a task that does not exist"} <= said.keys()
    assert recorder.written == len(said) == len(records(tmp_path / "kept"))
    assert server.tasks() == []
    assert "wrong-key-on-purpose" not in "".join(path.read_text() for path in (tmp_path / "kept").iterdir())
    assert provider.QUESTIONS
    assert all(one.question and one.assumed and one.record for one in provider.QUESTIONS)


ECHOES: list[Any] = [
    {"apiKey": KEY},
    {"data": [{"apiKeys": [{"apiKey": KEY, "name": "mine"}]}]},
    {"message": f"invalid key {KEY}"},
    {"error": {"details": f"Authorization: Bearer {KEY}"}},
    [[{"upload": {"fields": {"x-amz-signature": KEY, "policy": KEY, "key": KEY}}}]],
    {"url": f"https://user:{KEY}@host.example/a.mp4?sig={KEY}#{KEY}"},
    {"text": f"see https://media.pixverse.ai/{KEY}/clip.mp4?token={KEY} and more"},
    {"webhookURL": f"https://hooks.example/{KEY}"},
    {KEY: 1},
    {"cookie": KEY, "Set-Cookie": KEY, "email": KEY},
    "data:image/png;base64," + KEY * 40,
    {"deep": {"er": {"token": {"value": KEY}}}},
]


@pytest.mark.parametrize("body", ECHOES, ids=lambda body: json.dumps(body)[:24])
def test_no_echo_of_a_permission_is_kept(tmp_path: Path, body: Any) -> None:
    """In whatever field, list, text or address; also in headers, in a page and in the words of an error."""
    remember_secret(KEY)
    recorder = Recorder(tmp_path)
    request = httpx.Request("POST", f"https://api.example/x?key={KEY}", headers={"X-Odd": KEY}, json=body)
    recorder.keep("poll", request, httpx.Response(200, json=body), {"X-Echo": KEY, "Server": "nginx"}, KEY)
    recorder.keep("poll", request, httpx.Response(502, text=f"<html>{json.dumps(body)}</html>"))
    text = "".join(path.read_text() for path in tmp_path.iterdir())
    assert KEY not in text
    assert "nginx" in text


def test_what_is_no_permission_stays() -> None:
    """Task ids, codes, counts and words are what a record is for."""
    body = {
        "task_id": "9c1e",
        "status": 2,
        "total_tokens": 7,
        "taskUUID": "0f6f",
        "cost": 0.15,
        "prompt": "a key turns",
    }
    assert cut_value(body) == body
    assert cut_url("https://h.example:8443/a/b.mp4?Expires=1790000000&Signature=x") == (
        "https://h.example:8443/….mp4?Expires=1790000000&Signature=…"
    )
    assert cut_url("https://h.example/v3/async/task-result?task_id=1", keep_path=True).endswith("task-result?task_id=…")


def test_records_are_new_files_of_bounded_size_and_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large body is a size and a digest; after so many files nothing more is written."""
    monkeypatch.setattr(recording, "MAX_FILES", 3)
    recorder = Recorder(tmp_path)
    request = httpx.Request("POST", "https://api.example/x", content=b"x" * (recording.MAX_BODY_BYTES + 1))
    for _ in range(5):
        recorder.keep("upload", request, httpx.Response(200, content=b"y" * (recording.MAX_BODY_BYTES + 1)))
    kept = records(tmp_path)
    assert len(kept) == 3
    assert kept[0]["request"]["body"]["bytes"] == kept[0]["answer"]["body"]["bytes"] == recording.MAX_BODY_BYTES + 1
    assert max(path.stat().st_size for path in tmp_path.iterdir()) < 2000


def test_a_folder_that_cannot_be_written_to_stops_no_call(tmp_path: Path, server: Simulator) -> None:
    """The run goes on as without a recorder."""
    (tmp_path / "kept").write_text("a file")
    with session_in(tmp_path, server.url) as session:
        record_to(session, tmp_path / "kept")
        _, problems = deliver(session, LocalStore(tmp_path / "clips"), record_rows(session.ledger, [make_row()]), 60)
    assert problems == []
