"""One provider of the simulator is sick, by order and until it is healed; the others do not notice."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, get_args
from uuid import uuid4

import httpx
import pytest

from pixverse_dagster.simulator.faults import Settings, Sick
from pixverse_dagster.simulator.sickness import Sicknesses
from pixverse_dagster.simulator.state import SimulatorState
from pixverse_dagster_tests.harness.chaos.rounds import KINDS
from pixverse_dagster_tests.harness.commands import ask_until
from pixverse_dagster_tests.harness.servers import Simulator, running_simulator

KEYS = {"Authorization": "Bearer simulator", "Api-Key": "simulator"}
OPTIONS = {"prompt_optimization": False, "num_outputs": 1, "resolution": "360p", "aspect_ratio": "16:9", "duration": 5}
IMAGE = "https://assets.example.org/kite.png"
MB = 1024 * 1024
SHORT_SECONDS = 0.1
PROVIDERS = ("highway", "runware", "pixwith")
CASES = [
    *zip(get_args(Sick), itertools.cycle(PROVIDERS), strict=False),
    *itertools.product(["wrong_ids"], ["highway", "pixwith"]),
    *itertools.product(["wrong_types"], ["highway", "runware"]),
]
DROPPED = (httpx.RemoteProtocolError, httpx.ReadError)
SILENT = {"hang": httpx.ReadTimeout, "slow": httpx.ReadTimeout, "away": DROPPED}


class Client:
    """Submits and polls as a client of all three providers."""

    def __init__(self, server: Simulator) -> None:
        self.server = server
        self.http = httpx.Client(base_url=server.url, trust_env=False, headers=KEYS)

    def submit(self, provider: str, **options: Any) -> httpx.Response:
        path, body = {
            "highway": (
                "/highway/v3/async/pixverse-v6-i2v",
                {"prompt": "a kite", "image": IMAGE, "resolution": "360p"},
            ),
            "runware": ("/runware/v1", [_inference(str(uuid4()))]),
            "pixwith": ("/pixwith/api/task/create", {"prompt": "a kite", "model_id": "2-27", "options": OPTIONS}),
        }[provider]
        return self.http.post(path, json=body, **options)

    def poll(self, provider: str, task_id: str, **options: Any) -> httpx.Response:
        if provider == "highway":
            return self.http.get("/highway/v3/async/task-result", params={"task_id": task_id}, **options)
        if provider == "runware":
            asked = [{"taskType": "getResponse", "taskUUID": task_id}]
            return self.http.post("/runware/v1", json=asked, **options)
        return self.http.post("/pixwith/api/task/get", json={"task_id": task_id}, **options)

    def accepted(self, provider: str) -> str:
        """The id of a task that is submitted now."""
        self.submit(provider).raise_for_status()
        return self.server.tasks()[-1]["task_id"]


def _inference(uuid: str) -> dict[str, Any]:
    task = {"taskType": "videoInference", "taskUUID": uuid, "model": "pixverse:1@3", "positivePrompt": "a kite"}
    return {**task, "duration": 5, "width": 640, "height": 360}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    with running_simulator(tmp_path_factory.mktemp("sick"), generation_seconds=0) as running:
        yield running


@pytest.fixture
def client(server: Simulator) -> Iterator[Client]:
    server.reset()
    client = Client(server)
    yield client
    client.http.close()


@pytest.mark.parametrize(("kind", "provider"), CASES)
def test_one_provider_is_sick_until_it_is_healed_and_the_others_are_well(client: Client, kind: str, provider: str):
    """While its answer is late, endless, absent or a lie, the neighbours answer; healed, it does as before."""
    first, second = client.accepted(provider), client.accepted(provider)
    well = [client.poll(provider, task_id).json() for task_id in (first, second)]
    client.server.sicken(provider, kind)
    assert _asked(client, provider, first, kind) != well[0]
    for other in PROVIDERS:
        if other != provider:
            assert client.submit(other).is_success
    client.server.heal(provider)
    healed = [client.poll(provider, task_id).json() for task_id in (first, second)]
    assert [_whose(one) for one in healed] == [_whose(one) for one in well]
    assert client.server.requests()[provider]["sick"] == {kind: 1}


def _whose(answer: Any) -> str:
    """The id that the answer is about."""
    if "task" in answer:
        return answer["task"]["task_id"]
    data = answer["data"]
    return data["task_id"] if "task_id" in data else data[0]["taskUUID"]


def _asked(client: Client, provider: str, task_id: str, kind: str) -> Any:
    """What a poll of the sick provider is answered with."""
    if kind in SILENT:
        with pytest.raises(SILENT[kind]):
            client.poll(provider, task_id, timeout=httpx.Timeout(5, read=SHORT_SECONDS))
        return kind
    if kind == "flood":
        return _flood(client, provider)
    answer = client.poll(provider, task_id)
    if kind in {"error", "html"}:
        assert answer.status_code == (500 if kind == "error" else 200)
        assert answer.headers["content-type"].startswith("text/html")
        return answer.text
    assert answer.status_code == 200
    if kind == "wrong_ids":
        assert _whose(answer.json()) == client.server.tasks()[1]["task_id"]
    return answer.json()


def _flood(client: Client, provider: str) -> str:
    """More than anybody needs, in pieces, and not for ever."""
    got = 0
    paths = {"highway": "/highway/v3/async/any", "runware": "/runware/v1", "pixwith": "/pixwith/api/task/get"}
    with suppress(httpx.TransportError), client.http.stream("POST", paths[provider]) as answer:
        for piece in answer.iter_raw():
            got += len(piece)
    assert 63 * MB < got <= 65 * MB
    return "flood"


def test_a_submit_to_a_sick_provider_may_be_accepted_all_the_same(client: Client):
    """Half of those whose answer is lost are charged; all that is lied about is; nothing at one that is away."""
    charged: dict[str, int] = {}
    for kind in ("error", "html", "wrong_ids", "wrong_types"):
        client.server.reset()
        client.server.sicken("pixwith", kind)
        for _ in range(12):
            client.submit("pixwith")
        charged[kind] = len(client.server.tasks())
    assert 0 < charged["error"] < 12
    assert 0 < charged["html"] < 12
    assert (charged["wrong_ids"], charged["wrong_types"]) == (12, 12)
    client.server.reset()
    client.server.sicken("pixwith", "away")
    for _ in range(6):
        with pytest.raises(DROPPED):
            client.submit("pixwith")
    assert client.server.tasks() == []


def test_its_result_files_are_sick_with_it_or_alone(client: Client):
    """`part` says which: the API, the files, or by default both."""
    task_id = client.accepted("highway")
    assert ask_until(lambda: client.server.tasks()[0]["status"] == "succeeded", 20)
    url = client.poll("highway", task_id).json()["videos"][0]["video_url"]
    seen: dict[str, tuple[int, int]] = {}
    for part in ("api", "media", "all"):
        client.server.sicken("highway", "error", part)
        seen[part] = (client.poll("highway", task_id).status_code, client.http.get(url).status_code)
    client.server.heal("highway")
    with httpx.Client(trust_env=False) as plain:
        assert plain.get(url).status_code == 200
    assert {part: statuses[0] for part, statuses in seen.items()} == {"api": 500, "media": 200, "all": 500}
    assert {part: statuses[1] for part, statuses in seen.items()} == {"api": 400, "media": 500, "all": 500}


def test_what_hangs_is_let_go_when_the_provider_is_healed(client: Client):
    """Without an answer."""
    client.server.sicken("runware", "hang")
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(client.poll, "runware", str(uuid4()), timeout=30) for _ in range(4)]
        assert ask_until(lambda: client.server.requests()["runware"]["sick"]["hang"] == 4, 20)
        client.server.heal("runware")
        errors = [call.exception(20) for call in calls]
    assert all(isinstance(error, DROPPED) for error in errors)


def test_what_hangs_does_not_keep_the_simulator_from_stopping(tmp_path: Path):
    """A request is held; on SIGTERM the simulator ends at once all the same, and says nothing."""
    with ThreadPoolExecutor(1) as pool:
        with running_simulator(tmp_path, generation_seconds=0) as server:
            client = Client(server)
            server.sicken("pixwith", "hang")
            call = pool.submit(client.poll, "pixwith", "x", timeout=300)
            assert ask_until(lambda: "sick" in server.requests().get("pixwith", {}), 20)
        assert isinstance(call.exception(20), httpx.TransportError)
    client.http.close()
    assert (tmp_path / "simulator.log").read_text().count("\n") == 1


@pytest.mark.parametrize(
    "asked",
    [
        {"provider": "nobody", "kind": "hang"},
        {"provider": "runware"},
        {"provider": "runware", "kind": "dead"},
        {"provider": "runware", "kind": "hang", "part": "half"},
        {"provider": "runware", "kind": "hang", "seconds": 3},
        ["runware"],
    ],
)
def test_what_cannot_be_is_named_and_changes_nothing(client: Client, asked: Any):
    """HTTP 400 with what is known."""
    refused = client.http.post("/_simulator/sick", json=asked)
    assert refused.status_code == 400
    assert "must be one of" in refused.json()["error"] or "expected are" in refused.json()["error"]
    assert client.http.get("/_simulator/sick").json() == {}


def test_no_more_than_so_many_requests_are_held():
    """The next one is not; and what has ended makes place."""
    sicknesses = Sicknesses(SimulatorState(Settings()), PROVIDERS)
    held = [sicknesses.hold() for _ in range(300)]
    assert held == [True] * 256 + [False] * 44
    sicknesses.release()
    assert [sicknesses.hold(), sicknesses.hold()] == [True, False]


def test_the_chaos_run_has_every_kind():
    """A kind that is new is in it."""
    assert get_args(Sick) == KINDS


def test_a_reset_heals(client: Client):
    """And what is sick can be asked."""
    client.server.sicken("runware", "flood", "media")
    assert client.http.get("/_simulator/sick").json() == {"runware": {"kind": "flood", "part": "media"}}
    client.server.reset()
    assert client.http.get("/_simulator/sick").json() == {}


def test_the_audit_says_when_a_task_was_rendered(tmp_path: Path):
    """Not before it is, and never earlier than it was accepted."""
    with running_simulator(tmp_path, generation_seconds=0.5) as server:
        client = Client(server)
        client.accepted("pixwith")
        client.http.close()
        assert server.tasks()[0]["rendered_at"] is None
        assert ask_until(lambda: server.tasks()[0]["status"] == "succeeded", 20)
        (task,) = server.tasks()
    accepted, rendered = (datetime.fromisoformat(task[name]) for name in ("accepted_at", "rendered_at"))
    assert (rendered - accepted).total_seconds() >= 0.3
