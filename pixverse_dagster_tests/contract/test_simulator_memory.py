"""A simulator that is started again with its memory goes on where it stopped, however it ended."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from pixverse_dagster_tests.harness.commands import wait_until
from pixverse_dagster_tests.harness.forked import run_forked
from pixverse_dagster_tests.harness.forked import simulator as program
from pixverse_dagster_tests.harness.servers import Simulator, running_simulator

FAULTS = {"task.moderated": 0.2, "task.failed": 0.2, "task.stuck": 0.2}


def call(server: Simulator, path: str, body: Any = None, *, key: str = "simulator", method: str = "POST") -> Any:
    """An API's answer to this body."""
    headers = {"Api-Key": key} if "pixwith" in path else {"Authorization": f"Bearer {key}"}
    return httpx.request(method, f"{server.url}{path}", json=body, headers=headers, trust_env=False).json()


def order_all(server: Simulator) -> dict[str, str]:
    """Order of everything a bit; some of it for the account of another key."""
    options = {
        "prompt_optimization": False,
        "num_outputs": 2,
        "resolution": "360p",
        "aspect_ratio": "1:1",
        "duration": 5,
    }
    image = f"{server.url}/samples/chelsea.png"
    found: dict[str, str] = {}
    for n in range(4):
        for kind in ("MP4", "WEBM"):
            found[f"runware {kind} {n}"] = uuid = str(uuid4())
            one = {"taskType": "videoInference", "taskUUID": uuid, "model": "pixverse:1@3", "positivePrompt": "a kite"}
            call(server, "/runware/v1", [one | {"duration": 5, "width": 640, "height": 360, "outputFormat": kind}])
        key = ("simulator", "other")[n % 2]
        body = {"prompt": "a kite", "image": image, "resolution": "360p"}
        found[f"highway {key} {n}"] = call(server, "/highway/v3/async/pixverse-v6-i2v", body, key=key)["task_id"]
        body = {"prompt": "a cat", "model_id": "2-27", "options": options}
        found[f"pixwith {n}"] = call(server, "/pixwith/api/task/create", body)["data"]["task_id"]
    upload = {"taskType": "imageUpload", "taskUUID": str(uuid4()), "image": image}
    found["image"] = call(server, "/runware/v1", [upload])["data"][0]["imageUUID"]
    return found


def settled(server: Simulator) -> list[dict[str, Any]]:
    """The audit, once all that can end has ended."""

    def audit() -> list[dict[str, Any]]:
        tasks = server.tasks()
        open_tasks = [task for task in tasks if task["status"] == "processing"]
        return tasks if len(open_tasks) in range(1, len(tasks) // 2) else []

    return wait_until(audit, 20, "most tasks ended, and some are stuck")


def without_address(value: Any) -> Any:
    """A document of a server, whatever its port is."""
    return json.loads(re.sub(r"http://127\.0\.0\.1:\d+", "http://here", json.dumps(value)))


def facts(server: Simulator) -> Any:
    """All that the simulator tells of what was asked of it."""
    uploads = httpx.get(f"{server.url}/_simulator/uploads", trust_env=False).json()
    told = [server.tasks(), server.requests(), server.faults(), server.console(), server.console("b"), uploads]
    return without_address(told)


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.cover)])
def test_everything_is_as_it_was_after_a_start_with_the_same_memory(how: signal.Signals, tmp_path: Path) -> None:
    """Tasks and how they end, charges, bytes of clips, links, uploads, counts, and keys that are not given again."""
    memory = tmp_path / "memory.db"
    with running_simulator(
        tmp_path, generation_seconds=0.05, seed=3, faults=FAULTS, keys={"other": "b"}, memory=memory
    ) as server:
        ids = order_all(server)
        settled(server)
        before = facts(server)
        os.kill(server.pid, how)
        wait_until(lambda: not _answers(server), 20, "it has ended")
    with running_simulator(tmp_path, generation_seconds=0.05, memory=memory) as server:
        assert facts(server) == before
        answer = call(
            server, f"/highway/v3/async/task-result?task_id={ids['highway other 1']}", key="other", method="GET"
        )
        assert answer["task"]["task_id"] == ids["highway other 1"]
        again = call(server, "/runware/v1", [_order(ids["runware MP4 0"])])
        assert again["errors"][0]["code"] == "conflictTaskUUID"
        server.reset()
        assert server.tasks() == []
    with running_simulator(tmp_path, memory=memory) as server:
        assert server.tasks() == [], "what was forgotten stays forgotten"


def test_a_link_that_was_given_leads_to_the_same_bytes_after_a_start(tmp_path: Path) -> None:
    """Until it ends; the clip is made again, and is the same."""
    memory = tmp_path / "memory.db"
    with running_simulator(tmp_path, generation_seconds=0, memory=memory) as server:
        uuid = str(uuid4())
        call(server, "/runware/v1", [_order(uuid) | {"outputFormat": "WEBM"}])
        poll = [{"taskType": "getResponse", "taskUUID": uuid}]
        told = wait_until(
            lambda: [one for one in call(server, "/runware/v1", poll)["data"] if one.get("videoURL")], 20, "it is made"
        )
        link = without_address(told[0]["videoURL"])
        clip = httpx.get(told[0]["videoURL"], trust_env=False).content
    with running_simulator(tmp_path, memory=memory) as server:
        assert httpx.get(link.replace("http://here", server.url), trust_env=False).content == clip
        (again,) = call(server, "/runware/v1", poll)["data"]
        assert without_address(again["videoURL"]) == link
        assert server.tasks()[0]["outputs"][0]["downloads"] == 2


def test_a_memory_is_of_one_simulator_at_a_time(tmp_path: Path) -> None:
    """A second one ends with 2 and says why; a file that is something else is refused, and stays as it is."""
    memory, other = tmp_path / "memory.db", tmp_path / "notes.txt"
    other.write_text("no memory of a simulator, but notes of a person's" * 50)
    with running_simulator(tmp_path, memory=memory):
        for path, words in ((memory, "is in use by another simulator"), (other, "cannot be used as")):
            ran = run_forked(
                program, ["--port", "0", "--memory", str(path)], os.environ, tmp_path / "run", cwd=tmp_path,
                timeout_seconds=60,
            )  # fmt: skip
            assert ran.code == 2, ran.errors
            assert words in ran.errors
    assert other.read_text().startswith("no memory")


def _order(uuid: str) -> dict[str, Any]:
    order = {"taskType": "videoInference", "taskUUID": uuid, "model": "pixverse:1@3", "positivePrompt": "a kite"}
    return order | {"duration": 5, "width": 640, "height": 360}


def _answers(server: Simulator) -> bool:
    try:
        httpx.get(f"{server.url}/_simulator/health", trust_env=False)
    except httpx.HTTPError:
        return False
    return True
