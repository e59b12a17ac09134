"""The simulator keeps the providers' contracts: a real server, real HTTP, and clips that really play."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import av
import httpx
import pytest
from av.error import FFmpegError

from pixverse_dagster.simulator import images
from pixverse_dagster.simulator.media import Shape, render
from pixverse_dagster_tests.harness.servers import running_simulator

HIGHWAY_KEY = {"Authorization": "Bearer simulator"}
PIXWITH_KEY = {"Api-Key": "simulator"}
ELSEWHERE = "https://assets.example.org/kite.png"
FAST = "0.05"

Body = dict[str, Any]


class Simulator:
    """A running simulator and a client of it."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "pixverse_dagster.simulator", "--port", "0", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.ready = self.process.stdout.readline().strip()
        self.base = self.ready.rpartition(" ")[2]
        self.client = httpx.Client(base_url=self.base, timeout=20, trust_env=False)

    def stop(self) -> str:
        """Ends it with SIGTERM; returns what it wrote on stderr."""
        self.process.terminate()
        _, errors = self.process.communicate(timeout=5)
        self.client.close()
        return errors

    def sample(self, name: str = "chelsea.png") -> str:
        return f"{self.base}/samples/{name}"

    def audit(self) -> list[Body]:
        return self.client.get("/_simulator/tasks").json()

    def only_task(self) -> Body:
        (task,) = self.audit()
        return task

    def counts(self, provider: str, call: str) -> dict[str, int]:
        return self.client.get("/_simulator/requests").json().get(provider, {}).get(call, {})

    def reset(self) -> None:
        assert self.client.post("/_simulator/reset").json() == {}

    def served(self, body: Any) -> Any:
        """The body with a sample in place of the image that is elsewhere."""
        return json.loads(json.dumps(body).replace(ELSEWHERE, self.sample()))

    def highway(self, call: str, body: Any, **options: Any) -> httpx.Response:
        return self.client.post(f"/highway/v3/async/{call}", json=self.served(body), headers=HIGHWAY_KEY, **options)

    def highway_result(self, task_id: str) -> httpx.Response:
        return self.client.get("/highway/v3/async/task-result", params={"task_id": task_id}, headers=HIGHWAY_KEY)

    def runware(self, *tasks: Any) -> httpx.Response:
        return self.client.post("/runware/v1", json=self.served(list(tasks)), headers=HIGHWAY_KEY)

    def runware_poll(self, *uuids: str) -> httpx.Response:
        return self.runware(*({"taskType": "getResponse", "taskUUID": uuid} for uuid in uuids))

    def pixwith(self, call: str, body: Any) -> httpx.Response:
        return self.client.post(f"/pixwith/api/task/{call}", json=self.served(body), headers=PIXWITH_KEY)

    def highway_url(self) -> str:
        """Submits the smallest clip, waits for it, and returns its URL."""
        task_id = self.highway("pixverse-v6-i2v", v6(duration=1)).json()["task_id"]
        done = wait(lambda: self.highway_result(task_id).json(), lambda found: bool(found["videos"]))
        return done["videos"][0]["video_url"]


Start = Callable[..., Simulator]


def wait(read: Callable[[], Any], done: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + 15
    while not done(found := read()):
        assert time.monotonic() < deadline, found
    return found


def v45(**changes: Any) -> Body:
    return {"prompt": "a kite", "image": ELSEWHERE, "resolution": "360p", **changes}


def v6(**changes: Any) -> Body:
    return {"prompt": "a kite", "image": ELSEWHERE, "resolution": "360p", **changes}


def reference(**changes: Any) -> Body:
    return {"type": "subject", "ref_name": "hero", "image_url": ELSEWHERE, **changes}


def c1(**changes: Any) -> Body:
    return {"images": [reference()], "prompt": "@hero walks", "resolution": "360p", **changes}


def runware(**changes: Any) -> Body:
    """A valid text-to-video task; a change to None takes the field away."""
    task = {
        "taskType": "videoInference",
        "taskUUID": str(uuid4()),
        "model": "pixverse:1@3",
        "positivePrompt": "a lighthouse in heavy rain",
        "duration": 5,
        "width": 640,
        "height": 360,
        **changes,
    }
    return {key: value for key, value in task.items() if value is not None}


def framed(*frames: Any, **changes: Any) -> Body:
    return runware(width=None, height=None, inputs={"frameImages": list(frames)}, **changes)


def settings(**values: Any) -> Body:
    return {"pixverse": values}


def pixwith(**changes: Any) -> Body:
    options = {
        "prompt_optimization": False,
        "num_outputs": 1,
        "resolution": "360p",
        "aspect_ratio": "16:9",
        "duration": 5,
    }
    options.update(changes.pop("options", {}))
    return {"prompt": "a cat", "model_id": "2-27", "options": options, **changes}


def png(width: int, height: int) -> bytes:
    """A real, black PNG."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress((b"\0" * (width + 1)) * height)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def data_uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def probe(data: bytes) -> Body:
    """What the clip is, every frame of it decoded."""
    with av.open(io.BytesIO(data), "r") as container:
        stream = container.streams.video[0]
        frames = [hashlib.sha256(bytes(frame.planes[0])).digest() for frame in container.decode(stream)]
        return {
            "size": (stream.codec_context.width, stream.codec_context.height),
            "seconds": round((container.duration or 0) / 1e6, 1),
            "fps": float(stream.average_rate or 0),
            "video": stream.codec_context.name,
            "audio": [sound.codec_context.name for sound in container.streams.audio],
            "frames": len(frames),
            "different": len(set(frames)),
        }


def shape(size: tuple[int, int], seconds: int, *, video: str = "h264", audio: list[str] | None = None) -> Body:
    frames = {"frames": 24 * seconds, "different": 24}
    return {"size": size, "seconds": float(seconds), "fps": 24.0, "video": video, "audio": audio or [], **frames}


@pytest.fixture(scope="module")
def shared() -> Iterator[Simulator]:
    simulator = Simulator("--generation-seconds", FAST)
    yield simulator
    assert simulator.stop() == ""


@pytest.fixture
def sim(shared: Simulator) -> Simulator:
    """The shared simulator, emptied."""
    shared.reset()
    return shared


@pytest.fixture
def faulty() -> Iterator[Start]:
    """Starts simulators with options of their own; none may write to stderr."""
    started: list[Simulator] = []

    def start(*faults: str, generation_seconds: str = FAST, options: tuple[str, ...] = ()) -> Simulator:
        flags = [part for fault in faults for part in ("--fault", fault)]
        started.append(Simulator("--generation-seconds", generation_seconds, *flags, *options))
        return started[-1]

    yield start
    assert [simulator.stop() for simulator in started] == [""] * len(started)


# The happy paths


HIGHWAY_CLIPS = [
    ("pixverse-v4.5-i2v", v45(image="chelsea.png"), 0.45, shape((542, 360), 5)),
    ("pixverse-v4.5-i2v", v45(image="rocket.jpg", resolution="540p", fast_mode=True), 0.90, shape((810, 540), 5)),
    (
        "pixverse-v6-i2v",
        v6(image="astronaut.png", duration=2, generate_audio_switch=True),
        0.088,
        shape((640, 640), 2, audio=["aac"]),
    ),
    (
        "pixverse-pixverse-c1-reference-to-video",
        c1(duration=3, aspect_ratio="21:9", prompt="@hero "),
        0.09,
        shape((640, 288), 3),
    ),
]


@pytest.mark.parametrize(("call", "body", "price", "expected"), HIGHWAY_CLIPS)
def test_highway_delivers_the_clip_that_was_asked_for(
    sim: Simulator, call: str, body: Body, price: float, expected: Body
) -> None:
    """Submit, poll, download: the clip has the asked shape, and the audit has its bytes and its price."""
    if "image" in body:
        body = body | {"image": sim.sample(body["image"])}
    task_id = sim.highway(call, body).json()["task_id"]
    done = wait(lambda: sim.highway_result(task_id).json(), lambda found: bool(found["videos"]))
    assert done["task"]["status"] == "TASK_STATUS_SUCCEED"
    download = sim.client.get(done["videos"][0]["video_url"])
    assert probe(download.content) == expected
    assert download.headers["content-type"] == "video/mp4"
    assert download.headers["etag"]
    task = sim.only_task()
    model = "pixverse-c1-reference-to-video" if "c1" in call else call
    assert (task["provider"], task["model"], task["task_id"]) == ("highway", f"highway/{model}", task_id)
    assert (task["request"], task["charged_usd"], task["status"]) == (sim.served(body), price, "succeeded")
    assert task["client_reference"] is None
    assert task["polls"] >= 1
    assert task["outputs"] == [
        {
            "url": done["videos"][0]["video_url"].partition("?")[0],
            "sha256": hashlib.sha256(download.content).hexdigest(),
            "bytes": len(download.content),
            "downloads": 1,
        }
    ]


RUNWARE_CLIPS = [
    (runware(includeCost=True), 0.1121, shape((640, 360), 5), "video/mp4"),
    (runware(outputFormat="WEBM", duration=8.0), 0.2242, shape((640, 360), 8, video="vp9"), "video/webm"),
    (runware(outputFormat="MOV", width=1080, height=1920), 0.299, shape((1080, 1920), 5), "video/quicktime"),
    (
        framed(data_uri(png(300, 600)), {"image": str(uuid4()), "frame": -1}, resolution="360p"),
        0.1121,
        shape((360, 720), 5),
        "video/mp4",
    ),
]


@pytest.mark.parametrize(("body", "price", "expected", "content_type"), RUNWARE_CLIPS)
def test_runware_delivers_the_clip_that_was_asked_for(
    sim: Simulator, body: Body, price: float, expected: Body, content_type: str
) -> None:
    """Submit, poll, download: container, size and duration are the asked ones; the UUID is the client reference."""
    uuid = body["taskUUID"]
    submitted = sim.runware(body)
    assert (submitted.status_code, submitted.json()) == (
        200,
        {"data": [{"taskType": "videoInference", "taskUUID": uuid}]},
    )
    done = wait(lambda: sim.runware_poll(uuid).json()["data"], lambda rows: rows[0]["status"] == "success")
    assert done[0].get("cost") == (price if "includeCost" in body else None)
    download = sim.client.get(done[0]["videoURL"])
    assert probe(download.content) == expected
    assert download.headers["content-type"] == content_type
    task = sim.only_task()
    assert (task["model"], task["charged_usd"], task["client_reference"]) == ("runware/pixverse-v4.5", price, uuid)


@pytest.mark.parametrize(
    ("image", "expected"), [(None, shape((360, 640), 8)), ("rocket.jpg", shape((540, 360), 8))], ids=["text", "image"]
)
def test_pixwith_delivers_every_output(sim: Simulator, image: str | None, expected: Body) -> None:
    """Two outputs of one task are two different clips; an image's aspect goes before the option's."""
    pictures: Body = {"image_urls": [sim.sample(image)]} if image else {}
    body = pixwith(options={"num_outputs": 2, "duration": 8, "aspect_ratio": "9:16"}, **pictures)
    created = sim.pixwith("create", body).json()
    assert created["code"] == 1
    assert created["data"]["estimated_time"] == 1
    task_id = created["data"]["task_id"]
    data = wait(lambda: sim.pixwith("get", {"task_id": task_id}).json()["data"], lambda found: found["status"] != 1)
    clips = [sim.client.get(url).content for url in data["result_urls"]]
    assert data["status"] == 2
    assert [probe(clip) for clip in clips] == [expected, expected]
    assert clips[0] != clips[1]
    task = sim.only_task()
    assert (task["model"], task["charged_usd"], len(task["outputs"])) == ("pixwith/pixverse-v5", 1.8, 2)
    assert sim.pixwith("get_credits", {}).json()["data"]["credits"] == 10_000_000 - 180


def test_sound_comes_in_the_container_that_carries_it() -> None:
    """A WEBM with sound has VP9 and Opus; Runware's v4.5 cannot ask for it, so it is rendered directly."""
    template = render(Shape(320, 240, 1, audio=True, container="webm"), Event())
    clip = template.clip("a")
    found = probe(template.data + clip.tail)
    assert (found["video"], found["audio"]) == ("vp9", ["opus"])
    assert clip.sha256 == hashlib.sha256(template.data + clip.tail).hexdigest()


def test_runware_polls_many_tasks_in_one_post_and_repeats_finished_results(sim: Simulator) -> None:
    """`data` is cumulative, unknown UUIDs give no row, and four results have four UUIDs, seeds and URLs."""
    many, one, unknown = runware(numberResults=4, seed=7), runware(), str(uuid4())
    sim.runware(many)
    sim.runware(one)
    uuids = [many["taskUUID"], unknown, one["taskUUID"]]
    rows = wait(
        lambda: sim.runware_poll(*uuids).json()["data"], lambda rows: all(row["status"] == "success" for row in rows)
    )
    again = sim.runware_poll(*uuids).json()["data"]
    mine = [row for row in rows if row["taskUUID"] == many["taskUUID"]]
    assert again == rows
    assert {row["taskUUID"] for row in rows} == {many["taskUUID"], one["taskUUID"]}
    assert [row["resultIndex"] for row in mine] == [0, 1, 2, 3]
    assert [row["seed"] for row in mine] == [7, 8, 9, 10]
    assert len({row["videoUUID"] for row in mine}) == len({row["videoURL"] for row in mine}) == 4
    assert {task["charged_usd"] for task in sim.audit()} == {0.4484, 0.1121}


def test_a_task_that_is_not_due_has_no_outputs_yet(faulty: Start) -> None:
    """Queued or processing in each provider's words, charged already, and nothing to download."""
    sim = faulty(generation_seconds="600")
    body = runware()
    sim.runware(body)
    highway_id = sim.highway("pixverse-v6-i2v", v6()).json()["task_id"]
    pixwith_id = sim.pixwith("create", pixwith()).json()["data"]["task_id"]
    row = {"taskType": "videoInference", "taskUUID": body["taskUUID"], "status": "processing", "progress": 0}
    assert sim.runware_poll(body["taskUUID"]).json() == {"data": [row]}
    queued = sim.highway_result(highway_id).json()
    assert (queued["task"]["status"], queued["videos"]) == ("TASK_STATUS_QUEUED", [])
    waiting: Body = {"task_id": pixwith_id, "status": 1, "result_urls": []}
    assert sim.pixwith("get", {"task_id": pixwith_id}).json()["data"] == waiting
    for task in sim.audit():
        assert (task["status"], task["outputs"]) == ("processing", [])
        assert task["charged_usd"] > 0


def test_runware_results_finish_independently(faulty: Start) -> None:
    """Between the first and the last of four results, a poll shows some finished and one row still processing."""
    sim = faulty(generation_seconds="1")
    body = runware(numberResults=4)
    sim.runware(body)
    seen: set[int] = set()

    def poll() -> list[Body]:
        rows = sim.runware_poll(body["taskUUID"]).json()["data"]
        seen.add(sum(row["status"] == "success" for row in rows))
        assert sum(row["status"] == "processing" for row in rows) == (max(seen) < 4)
        return rows

    wait(poll, lambda _: 4 in seen)
    assert len(seen) > 2


def test_runware_refuses_a_known_uuid_and_charges_nothing(sim: Simulator) -> None:
    """It answers HTTP 400 conflictTaskUUID; getTaskDetails then has the request, and the refusal as last response."""
    body = runware()
    sim.runware(body)
    again = sim.runware(body | {"taskUUID": body["taskUUID"].upper()})
    assert again.status_code == 400
    assert [error["code"] for error in again.json()["errors"]] == ["conflictTaskUUID"]
    assert sim.only_task()["charged_usd"] == 0.1121
    details = sim.runware({"taskType": "getTaskDetails", "taskUUID": body["taskUUID"]}).json()["data"][0]
    assert details["request"] == body
    assert details["response"]["code"] == "conflictTaskUUID"


def test_runware_takes_the_good_tasks_of_a_mixed_post(sim: Simulator) -> None:
    """One bad task of a batch has an error with its own UUID; the good one is accepted with HTTP 200."""
    good, bad = runware(), runware(duration=6)
    answer = sim.runware(good, bad)
    assert answer.status_code == 200
    assert [row["taskUUID"] for row in answer.json()["data"]] == [good["taskUUID"]]
    assert [error["taskUUID"] for error in answer.json()["errors"]] == [bad["taskUUID"]]
    assert sim.only_task()["task_id"] == good["taskUUID"]


# Strictness

DATA_TOO_SMALL = data_uri(png(299, 400))
TOO_LONG = {"prompt": "x" * 2049}

BAD_V45: list[tuple[str, Body]] = [
    ("prompt", v45(**TOO_LONG)),
    ("prompt", {"image": ELSEWHERE, "resolution": "360p"}),
    ("image", {"prompt": "a", "resolution": "360p"}),
    ("resolution", {"prompt": "a", "image": ELSEWHERE}),
    ("resolution", v45(resolution="480p")),
    ("resolution", v45(resolution="1080p", fast_mode=True)),
    ("fast_mode", v45(fast_mode="true")),
    ("style", v45(style="oil")),
    ("seed", v45(seed=-1)),
    ("seed", v45(seed=2**31)),
    ("seed", v45(seed=True)),
    ("seed", v45(seed=None)),
    ("negative_prompt", v45(negative_prompt="x" * 2049)),
    ("duration", v45(duration=5)),
    ("image", v45(image="ftp://example.org/a.png")),
    ("image", v45(image="https://")),
    ("image", v45(image=DATA_TOO_SMALL)),
    ("image", v45(image="/samples/no-such-file.png")),
]
BAD_V6: list[tuple[str, Body]] = [
    ("prompt", v6(prompt="x" * 2501)),
    ("negative_prompt", v6(negative_prompt="x" * 2501)),
    ("duration", v6(duration=0)),
    ("duration", v6(duration=16)),
    ("duration", v6(duration=5.0)),
    ("cfg_scale", v6(cfg_scale=1.1)),
    ("thinking_type", v6(thinking_type=True)),
    ("generate_audio_switch", v6(generate_audio_switch=1)),
    ("aspect_ratio", v6(aspect_ratio="16:9")),
]
BAD_C1: list[tuple[str, Body]] = [
    ("images", c1(images=[])),
    ("images", c1(images=[reference(ref_name=f"r{n}") for n in range(8)])),
    ("images[0].type", c1(images=[reference(type="person")])),
    ("images[0].ref_name", c1(images=[reference(ref_name="he-ro")])),
    ("images[0].ref_name", c1(images=[reference(ref_name="x" * 31)])),
    ("images[0].image_url", c1(images=[{"type": "subject", "ref_name": "hero"}])),
    ("images[0].role", c1(images=[reference(role="lead")])),
    ("images", c1(images=[reference(), reference()])),
    ("prompt", c1(prompt="a hero walks")),
    ("prompt", c1(prompt="here comes @hero")),
    ("prompt", c1(prompt="@hero, walks")),
    ("prompt", c1(prompt="@hero meets @villain in a bar")),
    ("aspect_ratio", c1(aspect_ratio="5:4")),
    ("seed", c1(seed=1)),
]
HIGHWAY_BAD = [
    *(("pixverse-v4.5-i2v", field, body) for field, body in BAD_V45),
    *(("pixverse-v6-i2v", field, body) for field, body in BAD_V6),
    *(("pixverse-pixverse-c1-reference-to-video", field, body) for field, body in BAD_C1),
]
RUNWARE_BAD: list[tuple[str, str, Body]] = [
    ("invalidTaskUUID", "taskUUID", runware(taskUUID="not-a-uuid")),
    ("invalidTaskUUID", "taskUUID", runware(taskUUID="0f6f1f0e-9f7b-1f5e-8c0a-6d2b7c1e9a33")),
    ("missingTaskUUID", "taskUUID", runware(taskUUID=None)),
    ("missingModel", "model", runware(model=None)),
    ("unsupportedModel", "model", runware(model="pixverse:1@5")),
    ("missingPositivePrompt", "positivePrompt", runware(positivePrompt=None)),
    ("invalidPositivePrompt", "positivePrompt", runware(positivePrompt="x")),
    ("invalidPositivePrompt", "positivePrompt", runware(positivePrompt="x" * 2049)),
    ("invalidNegativePrompt", "negativePrompt", runware(negativePrompt="x")),
    ("unsupportedDuration", "duration", runware(duration=6)),
    ("unsupportedDuration", "duration", runware(duration=True)),
    ("unsupportedWidth", "width", runware(width=640, height=361)),
    ("missingHeight", "height", runware(height=None)),
    ("incompatibleParameters", "width", runware(width=None, height=None)),
    ("incompatibleParameters", "width", runware(inputs={"frameImages": [ELSEWHERE]})),
    ("incompatibleParameters", "resolution", runware(resolution="360p")),
    ("incompatibleParameters", "duration", runware(width=1920, height=1080, duration=8)),
    ("invalidNumberResults", "numberResults", runware(numberResults=5)),
    ("invalidSeed", "seed", runware(seed=2**31)),
    ("invalidTtl", "ttl", runware(ttl=59)),
    ("invalidOutputQuality", "outputQuality", runware(outputQuality=100)),
    ("unsupportedOutputFormat", "outputFormat", runware(outputFormat="GIF")),
    ("unsupportedOutputType", "outputType", runware(outputType="base64Data")),
    ("unsupportedDeliveryMethod", "deliveryMethod", runware(deliveryMethod="sync")),
    ("invalidWebhookURL", "webhookURL", runware(webhookURL="example.org")),
    ("unsupportedMode", "safety.mode", runware(safety={"mode": "strict"})),
    ("unknownParameter", "negative_prompt", runware(negative_prompt="rain")),
    ("unknownParameter", "providerSettings.google", runware(providerSettings={"google": {}})),
    ("unknownParameter", "providerSettings.pixverse.watermark", runware(providerSettings=settings(watermark=True))),
    ("unsupportedStyle", "providerSettings.pixverse.style", runware(providerSettings=settings(style="oil"))),
    (
        "incompatibleParameters",
        "providerSettings.pixverse.effect",
        runware(providerSettings=settings(effect="kiss kiss", cameraMovement="zoom_in")),
    ),
    (
        "incompatibleParameters",
        "providerSettings.pixverse.motionMode",
        runware(duration=8, providerSettings=settings(motionMode="fast")),
    ),
    (
        "incompatibleParameters",
        "providerSettings.pixverse.motionMode",
        framed(ELSEWHERE, resolution="1080p", providerSettings=settings(motionMode="fast")),
    ),
    ("invalidFrameImages", "inputs.frameImages", framed(ELSEWHERE, ELSEWHERE, ELSEWHERE)),
    (
        "incompatibleParameters",
        "inputs.frameImages",
        framed({"image": ELSEWHERE, "frame": "first"}, {"image": ELSEWHERE, "frame": 0}),
    ),
    ("unsupportedFrame", "inputs.frameImages[0].frame", framed({"image": ELSEWHERE, "frame": 1})),
    ("invalidFrameImages", "inputs.frameImages[0]", framed("not base64!")),
    ("invalidFrameImages", "inputs.frameImages[0]", framed(DATA_TOO_SMALL)),
    ("invalidFrameImages", "inputs.frameImages[0]", framed(data_uri(png(4001, 2000)))),
    ("invalidFrameImages", "inputs.frameImages[0]", framed(data_uri(png(300, 751)))),
    ("unsupportedFrameImages", "inputs.frameImages[0]", framed(data_uri(b"GIF89a" + bytes(2000)))),
]
PIXWITH_BAD: list[tuple[str, Body]] = [
    ("prompt", pixwith(prompt="")),
    ("model_id", pixwith(model_id="2-28")),
    ("model_id", {key: value for key, value in pixwith().items() if key != "model_id"}),
    ("options", {"prompt": "a", "model_id": "2-27"}),
    ("options.duration", pixwith(options={"duration": 6})),
    ("options.num_outputs", pixwith(options={"num_outputs": 5})),
    ("options.resolution", pixwith(options={"resolution": "480p"})),
    ("options.aspect_ratio", pixwith(options={"aspect_ratio": "21:9"})),
    ("options.prompt_optimization", pixwith(options={"prompt_optimization": "no"})),
    ("options.seed", pixwith(options={"seed": 1})),
    ("options.duration", {"prompt": "a", "model_id": "2-27", "options": {**pixwith()["options"], "duration": None}}),
    ("seed", pixwith(seed=1)),
    ("image url", pixwith(image_urls=[])),
    ("image url", pixwith(image_urls=[ELSEWHERE, ELSEWHERE])),
    ("image url", pixwith(image_urls=["kite.png"])),
    ("image url", pixwith(image_urls=[DATA_TOO_SMALL])),
]


@pytest.mark.parametrize(("call", "field", "body"), HIGHWAY_BAD)
def test_highway_refuses_bad_bodies_free_of_charge(sim: Simulator, call: str, field: str, body: Body) -> None:
    """Every documented limit is HTTP 400 INVALID_REQUEST_BODY naming the field, and nothing is accepted."""
    if str(body.get("image")).startswith("/samples/"):
        body = body | {"image": sim.base + body["image"]}
    answer = sim.highway(call, body)
    assert (answer.status_code, answer.json()["reason"]) == (400, "INVALID_REQUEST_BODY")
    assert answer.json()["message"].startswith(f"{field}: ")
    assert sim.audit() == []


@pytest.mark.parametrize(("code", "field", "body"), RUNWARE_BAD)
def test_runware_refuses_bad_tasks_free_of_charge(sim: Simulator, code: str, field: str, body: Body) -> None:
    """Every documented limit is HTTP 400 with one error that names the parameter, and nothing is accepted."""
    answer = sim.runware(body)
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["code"], error["parameter"]) == (400, code, field)
    assert error.get("taskUUID") == body.get("taskUUID")
    assert sim.audit() == []


@pytest.mark.parametrize(("field", "body"), PIXWITH_BAD)
def test_pixwith_refuses_bad_bodies_free_of_charge(sim: Simulator, field: str, body: Body) -> None:
    """Every documented limit is HTTP 200 with code 0 and a text that names the field, and nothing is accepted."""
    answer = sim.pixwith("create", body)
    assert (answer.status_code, answer.json()["code"]) == (200, 0)
    assert field in answer.json()["message"]
    assert sim.audit() == []


def test_bodies_that_are_not_json_are_refused(sim: Simulator) -> None:
    """Broken JSON, another content type, and an object where Runware wants an array."""
    path = "/highway/v3/async/pixverse-v6-i2v"
    headers = HIGHWAY_KEY | {"Content-Type": "application/json"}
    assert sim.client.post(path, content=b"{", headers=headers).status_code == 400
    assert sim.client.post(path, content=b"{}", headers=HIGHWAY_KEY).status_code == 400
    assert sim.client.post("/runware/v1", json=runware(), headers=HIGHWAY_KEY).status_code == 400
    assert sim.client.post("/pixwith/api/task/create", json=[], headers=PIXWITH_KEY).json()["code"] == 0
    assert sim.audit() == []


def test_samples_are_checked_like_any_other_image(faulty: Start, tmp_path: Path) -> None:
    """A sample that is too small, too long, or no JPEG or PNG is refused; a good one is served as it is."""
    (tmp_path / "small.png").write_bytes(png(400, 299))
    (tmp_path / "long.png").write_bytes(png(751, 300))
    (tmp_path / "fake.png").write_bytes(b"GIF89a" + bytes(1000))
    (tmp_path / "big.png").write_bytes(png(400, 400) + bytes(10 * 1024 * 1024))
    (tmp_path / "good.png").write_bytes(png(750, 300))
    sim = faulty(options=("--samples-dir", str(tmp_path)))
    for name in ("small.png", "long.png", "fake.png", "big.png", "missing.png", "..%2Fgood.png"):
        assert sim.highway("pixverse-v6-i2v", v6(image=sim.sample(name))).status_code == 400, name
        assert sim.pixwith("create", pixwith(image_urls=[sim.sample(name)])).json()["code"] == 0, name
    assert sim.audit() == []
    assert sim.highway("pixverse-v6-i2v", v6(image=sim.sample("good.png"))).status_code == 200
    assert sim.client.get("/samples/good.png").content == (tmp_path / "good.png").read_bytes()


@pytest.mark.parametrize(("name", "size"), [("VP8X", (400, 301)), ("VP8L", (400, 301)), ("VP8 ", (400, 301))])
def test_the_three_kinds_of_webp_are_measured(name: str, size: tuple[int, int]) -> None:
    """The header alone tells the size, for each of WEBP's three layouts."""
    width, height = size
    payload = {
        "VP8X": b"\0\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little"),
        "VP8L": b"\x2f" + ((width - 1) | (height - 1) << 14).to_bytes(4, "little"),
        "VP8 ": b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height),
    }[name]
    data = b"RIFF" + bytes(4) + b"WEBP" + name.encode() + struct.pack("<I", len(payload)) + payload
    assert images.probe(data) == images.Image("webp", width, height)


def test_only_the_simulators_key_opens_the_door(sim: Simulator) -> None:
    """A missing or wrong key is refused as each provider does it, before the body is looked at."""
    wrong = {"Authorization": "Bearer other", "Api-Key": "other"}
    path = "/highway/v3/async/pixverse-v6-i2v"
    assert sim.client.post(path, json=v6()).json()["reason"] == "INVALID_API_KEY"
    assert sim.client.post(path, json=v6(), headers=wrong).status_code == 401
    assert sim.client.get("/highway/v3/async/task-result?task_id=1", headers=wrong).status_code == 401
    assert sim.client.post("/runware/v1", json=[runware()]).status_code == 401
    assert (
        sim.client.post("/runware/v1", json=[runware()], headers=wrong).json()["errors"][0]["code"] == "invalidApiKey"
    )
    assert sim.client.post("/pixwith/api/task/create", json=pixwith(), headers=wrong).json()["code"] == 2
    assert sim.client.post("/pixwith/api/task/get", json={"task_id": "1"}).json()["code"] == 2
    assert sim.audit() == []
    authentication = {"taskType": "authentication", "apiKey": "simulator"}
    assert sim.client.post("/runware", json=[authentication, runware()]).status_code == 200
    assert len(sim.audit()) == 1


def test_keys_of_one_account_see_its_tasks_and_no_others(tmp_path: Path) -> None:
    """Two keys of one account are one customer; another account's task is answered like one that never was."""
    with running_simulator(tmp_path, generation_seconds=0, keys={"old": "a", "new": "a", "other=": "b"}) as server:
        client = httpx.Client(base_url=server.url, trust_env=False)

        def call(path: str, body: Any, key: str, method: str = "POST") -> httpx.Response:
            headers = {"Api-Key": key} if "pixwith" in path else {"Authorization": f"Bearer {key}"}
            return client.request(method, path, json=body, headers=headers)

        mine = runware()
        poll = [{"taskType": "getResponse", "taskUUID": mine["taskUUID"]}]
        pix = call("/pixwith/api/task/create", pixwith(), "old").json()["data"]["task_id"]
        high = call("/highway/v3/async/pixverse-v6-i2v", v6(), "old").json()["task_id"]
        result = f"/highway/v3/async/task-result?task_id={high}"
        assert call("/runware/v1", [mine], "old").status_code == 200
        assert call("/runware/v1", [mine], "new").json()["errors"][0]["code"] == "conflictTaskUUID"
        assert call("/runware/v1", poll, "new").json()["data"]
        assert call(result, None, "new", "GET").status_code == 200
        assert call("/pixwith/api/task/get", {"task_id": pix}, "new").json()["code"] == 1
        assert call("/runware/v1", poll, "other=").json() == {"data": []}
        assert call(result, None, "other=", "GET").json()["reason"] == "TASK_NOT_FOUND"
        assert call("/pixwith/api/task/get", {"task_id": pix}, "other=").json()["code"] == 0
        assert call("/runware/v1", [mine], "other=").status_code == 200, "ids are unique in an account"
        assert call("/runware/v1", [mine], "wrong").status_code == 401
        assert [task["account"] for task in server.tasks()] == ["a", "a", "a", "b"]
        tasks = wait(server.tasks, lambda found: all(task["status"] == "succeeded" for task in found))
        first, second = (task["outputs"][0] for task in tasks if task["task_id"] == mine["taskUUID"])
        assert first["url"] != second["url"]
        assert first["sha256"] != second["sha256"], "every clip has its own bytes"
        left = [call("/pixwith/api/task/get_credits", {}, key).json()["data"]["credits"] for key in ("new", "other=")]
        assert left[0] < left[1]
        client.close()


def test_unknown_tasks_and_models_are_named_as_such(sim: Simulator) -> None:
    """Highway 404, Pixwith code 0, Runware no row and no error."""
    assert sim.highway("pixverse-v9-i2v", v6()).json()["reason"] == "MODEL_NOT_FOUND"
    assert sim.highway_result("no-such-task").status_code == 404
    assert sim.pixwith("get", {"task_id": "no-such-task"}).json()["code"] == 0
    assert sim.runware_poll(str(uuid4())).json() == {"data": []}
    assert sim.runware({"taskType": "ping", "ping": True}).json() == {"data": [{"taskType": "ping", "pong": True}]}
    assert sim.runware({"taskType": "imageUpload"}).status_code == 400


# Media


def test_media_needs_its_signature_and_refuses_a_leaked_key(sim: Simulator) -> None:
    """403 without or with another's signature, 404 for what is not there, 400 if a key comes along."""
    url = sim.highway_url()
    path = urlsplit(url).path
    assert re.search(r"\?X-Sim-Expires=\d+&X-Sim-Signature=[\w-]{20,}$", url)
    assert sim.client.get(path).status_code == 403
    assert sim.client.get(f"{path}?X-Sim-Signature=guessed").status_code == 403
    assert sim.client.get(url.replace("/1.mp4", "/2.mp4")).status_code == 404
    assert sim.client.get(url.replace("/1.mp4", "/1.webm")).status_code == 404
    assert sim.client.get("/media/none/1.mp4?X-Sim-Signature=x").status_code == 404
    assert sim.client.get(url, headers=HIGHWAY_KEY).status_code == 400
    assert sim.client.get(url, headers=PIXWITH_KEY).status_code == 400
    head = sim.client.head(url)
    assert (head.status_code, int(head.headers["content-length"])) == (200, sim.only_task()["outputs"][0]["bytes"])
    assert sim.only_task()["outputs"][0]["downloads"] == 0
    assert sim.client.get(url).status_code == 200
    assert sim.only_task()["outputs"][0]["downloads"] == 1


def test_every_clip_has_its_own_bytes(sim: Simulator) -> None:
    """Thirty clips of one shape: thirty digests, each the true one."""
    urls = [sim.highway_url() for _ in range(30)]
    digests = {hashlib.sha256(sim.client.get(url).content).hexdigest() for url in urls}
    assert len(digests) == 30
    assert digests == {task["outputs"][0]["sha256"] for task in sim.audit()}


# Faults

SUBMIT: dict[str, Callable[[Simulator], httpx.Response]] = {
    "highway": lambda sim: sim.highway("pixverse-v6-i2v", v6(duration=1)),
    "runware": lambda sim: sim.runware(runware()),
    "pixwith": lambda sim: sim.pixwith("create", pixwith()),
}
REFUSED: dict[str, Callable[[Body], str | int]] = {
    "highway": lambda body: body["reason"],
    "runware": lambda body: body["errors"][0]["code"],
    "pixwith": lambda body: body["code"],
}
EXPECTED = {
    "highway": ("RATE_LIMIT_EXCEEDED", "SERVICE_NOT_AVAILABLE"),
    "runware": ("apiRateLimitExceeded", "serviceUnavailable"),
    "pixwith": (0, 0),
}


def test_lost_response_is_charged_and_then_silent(faulty: Start) -> None:
    """The connection closes before a byte of an answer, the task runs on; a bad body is still refused properly."""
    sim = faulty("submit.lost_response=1")
    for provider, submit in SUBMIT.items():
        with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
            submit(sim)
        assert sim.counts(provider, "submit") == {"dropped": 1}
    tasks = sim.audit()
    assert [task["provider"] for task in tasks] == list(SUBMIT)
    assert all(task["charged_usd"] > 0 for task in tasks)
    again = sim.runware(runware(taskUUID=tasks[1]["client_reference"]))
    assert again.json()["errors"][0]["code"] == "conflictTaskUUID"
    assert sim.highway("pixverse-v6-i2v", v6(duration=0)).status_code == 400


def test_refusals_are_json_and_free(faulty: Start) -> None:
    """429 carries Retry-After, 503 says so in the provider's own form, and neither is charged."""
    for at, (fault, status) in enumerate((("submit.rate_limited", 429), ("submit.refused_503", 503))):
        sim = faulty(f"{fault}=1")
        for provider, submit in SUBMIT.items():
            answer = submit(sim)
            assert answer.status_code == status
            assert REFUSED[provider](answer.json()) == EXPECTED[provider][at]
            assert answer.headers.get("retry-after") == ("1" if status == 429 else None)
            assert sim.counts(provider, "submit") == {str(status): 1}
        assert sim.audit() == []


def test_a_server_error_on_submit_is_ambiguous(faulty: Start) -> None:
    """HTTP 500 without JSON, every time; some were accepted and charged, some not."""
    sim = faulty("submit.server_error=1")
    answers = [submit(sim) for submit in SUBMIT.values() for _ in range(10)]
    assert {answer.status_code for answer in answers} == {500}
    assert all("json" not in answer.headers["content-type"] for answer in answers)
    assert 5 < len(sim.audit()) < 25


@pytest.mark.parametrize("fault", ["poll.server_error", "poll.dropped", "poll.unknown_status"])
def test_poll_faults_change_nothing_about_the_task(faulty: Start, fault: str) -> None:
    """A 500, a dropped connection or an unknown status word: the task itself goes on and succeeds."""
    sim = faulty(f"{fault}=1")
    body = runware()
    sim.runware(body)
    highway_id = SUBMIT["highway"](sim).json()["task_id"]
    pixwith_id = SUBMIT["pixwith"](sim).json()["data"]["task_id"]
    polls: list[Callable[[], httpx.Response]] = [
        lambda: sim.highway_result(highway_id),
        lambda: sim.runware_poll(body["taskUUID"]),
        lambda: sim.pixwith("get", {"task_id": pixwith_id}),
    ]
    if fault == "poll.dropped":
        for poll in polls:
            with pytest.raises(httpx.RemoteProtocolError):
                poll()
    elif fault == "poll.server_error":
        assert [poll().status_code for poll in polls] == [500, 500, 500]
    else:
        highway, row, third = (poll().json() for poll in polls)
        assert (highway["task"]["status"], highway["videos"]) == ("TASK_STATUS_REVIEWING", [])
        assert row["data"] == [{"taskType": "videoInference", "taskUUID": body["taskUUID"], "status": "reviewing"}]
        assert third["data"]["status"] == 7
    tasks = wait(sim.audit, lambda found: all(task["status"] == "succeeded" for task in found))
    assert [task["polls"] for task in tasks] == [1, 1, 1]


def test_failed_and_moderated_tasks_say_so_and_stay_charged(faulty: Start) -> None:
    """FAILED with a reason, an error item per result, status 3."""
    cases = {
        "task.failed": ("generation failed", "inferenceError"),
        "task.moderated": ("input rejected by content policy", "providerContentPolicyViolation"),
    }
    for fault, (reason, code) in cases.items():
        sim = faulty(f"{fault}=1")
        task_id, body = SUBMIT["highway"](sim).json()["task_id"], runware(numberResults=2)
        sim.runware(body)
        pixwith_id = SUBMIT["pixwith"](sim).json()["data"]["task_id"]
        tasks = wait(sim.audit, lambda found: all(task["status"] != "processing" for task in found))
        assert all(task["status"] == "failed" and task["charged_usd"] > 0 and not task["outputs"] for task in tasks)
        highway = sim.highway_result(task_id).json()["task"]
        assert (highway["status"], highway["reason"]) == ("TASK_STATUS_FAILED", reason)
        row = sim.runware_poll(body["taskUUID"])
        assert (row.status_code, row.json()["data"]) == (200, [])
        assert [(error["code"], error["taskUUID"]) for error in row.json()["errors"]] == [(code, body["taskUUID"])] * 2
        assert sim.pixwith("get", {"task_id": pixwith_id}).json()["data"]["status"] == 3


def test_a_stuck_task_never_ends(faulty: Start) -> None:
    """Long after its time it is still processing, everywhere."""
    sim = faulty("task.stuck=1")
    task_id = SUBMIT["highway"](sim).json()["task_id"]
    time.sleep(0.3)  # noqa: TID251 - six times the generation time passes, and nothing else can show it
    assert sim.highway_result(task_id).json()["task"]["status"] == "TASK_STATUS_PROCESSING"
    assert sim.only_task()["status"] == "processing"


def test_broken_downloads_are_not_counted_as_complete(faulty: Start) -> None:
    """Truncated: the full length announced, half sent. Dropped: no answer. Corrupt: the right length, unplayable."""
    sim = faulty("media.truncated=1")
    with sim.client.stream("GET", sim.highway_url()) as answer, pytest.raises(httpx.RemoteProtocolError):
        answer.read()
    (output,) = sim.only_task()["outputs"]
    assert (int(answer.headers["content-length"]), answer.num_bytes_downloaded) == (
        output["bytes"],
        output["bytes"] // 2,
    )
    assert output["downloads"] == 0

    sim = faulty("media.dropped=1")
    with pytest.raises(httpx.RemoteProtocolError):
        sim.client.get(sim.highway_url())
    assert sim.counts("highway", "media") == {"dropped": 1}
    assert sim.only_task()["outputs"][0]["downloads"] == 0

    sim = faulty("media.corrupt=1")
    download = sim.client.get(sim.highway_url())
    (output,) = sim.only_task()["outputs"]
    assert (len(download.content), output["downloads"]) == (output["bytes"], 0)
    with pytest.raises(FFmpegError):
        probe(download.content)


def test_a_download_fault_is_drawn_anew_for_each_download(faulty: Start) -> None:
    """At a rate of a half, the same URL is good sometimes, and the good bytes are always the same."""
    sim = faulty("media.corrupt=0.5")
    url = sim.highway_url()
    digests = [hashlib.sha256(sim.client.get(url).content).hexdigest() for _ in range(20)]
    (output,) = sim.only_task()["outputs"]
    assert len(set(digests)) == 2
    assert digests.count(output["sha256"]) == output["downloads"]


def test_an_expired_url_stays_expired_and_a_later_poll_brings_another(faulty: Start) -> None:
    """410 however often it is tried; the next poll's URL has a new signature, and a fate of its own."""
    sim = faulty("media.expired=0.5")
    task_id = SUBMIT["highway"](sim).json()["task_id"]
    wait(sim.audit, lambda found: found[0]["status"] == "succeeded")
    fates: dict[str, set[int]] = {}
    for _ in range(20):
        url = sim.highway_result(task_id).json()["videos"][0]["video_url"]
        fates.setdefault(url, set()).update(sim.client.get(url).status_code for _ in range(2))
        if fates[url] == {200}:
            break
    *expired, last = fates.values()
    assert all(fate == {410} for fate in expired)
    assert last == {200}


def test_a_link_that_has_ended_by_time_is_followed_by_another_one(faulty: Start) -> None:
    """410 for the old one, and the next poll brings a new one: here each has ended at once."""
    sim = faulty(options=("--link-seconds", "0"))
    url = sim.highway_url()
    assert "X-Sim-Expires=0&" in url
    assert sim.client.get(url).status_code == 410
    (task,) = sim.audit()
    assert sim.highway_result(task["task_id"]).json()["videos"][0]["video_url"] != url


def test_a_console_shows_the_accounts_own_tasks_and_no_more_than_a_customer_sees(faulty: Start) -> None:
    """Provider, time, the first words, id and status; not what was charged or made, and nothing of other accounts."""
    sim = faulty(options=("--key", "other=stranger"))
    for submit in SUBMIT.values():
        submit(sim)
    shown = sim.client.get("/_simulator/console").json()
    assert [task["provider"] for task in shown] == [*reversed(SUBMIT)]
    assert [task["task_id"] for task in shown] == [task["task_id"] for task in reversed(sim.audit())]
    assert {key for task in shown for key in task} == {"provider", "submitted_at", "prompt", "task_id", "status"}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", task["submitted_at"]) for task in shown)
    assert all(task["prompt"] for task in shown)
    assert sim.client.get("/_simulator/console?account=stranger").json() == []


def test_a_result_can_be_let_expire_for_good(sim: Simulator) -> None:
    """As after its lifetime: the link that is known answers 410, and so does every later one."""
    url = sim.highway_url()
    (task,) = sim.audit()
    done = sim.client.post("/_simulator/expire", json={"task_id": task["task_id"], "output": 1})
    assert done.json() == {"expired": 1}
    assert sim.client.get(url).status_code == 410
    again = sim.highway_result(task["task_id"]).json()["videos"][0]["video_url"]
    assert sim.client.get(again).status_code == 410
    assert sim.client.post("/_simulator/expire", json={"task_id": "none"}).json() == {"expired": 0}


def test_a_slow_download_arrives_whole(faulty: Start) -> None:
    """It takes two to three seconds and plays."""
    sim = faulty("media.slow=1")
    url, started = sim.highway_url(), time.monotonic()
    assert probe(sim.client.get(url).content)["frames"] == 24
    assert 2 < time.monotonic() - started < 4


def test_the_same_seed_draws_the_same_faults(faulty: Start) -> None:
    """Two simulators of one seed refuse the same requests; another seed refuses others; reset starts over."""

    def draws(sim: Simulator) -> list[int]:
        return [SUBMIT["highway"](sim).status_code for _ in range(25)]

    first, second, other = (
        faulty("submit.refused_503=0.3", "submit.rate_limited=0.2", options=("--seed", seed))
        for seed in ("1", "1", "2")
    )
    drawn = draws(first)
    assert set(drawn) == {200, 429, 503}
    assert draws(second) == drawn
    assert draws(other) != drawn
    first.reset()
    assert draws(first) == drawn


def test_the_audit_counts_the_faults_that_happened(faulty: Start) -> None:
    """By kind; a fault that another one forestalled did not happen, and a reset forgets."""
    sim = faulty("submit.refused_503=0.5", "task.moderated=1", "task.failed=1")
    statuses = [SUBMIT["highway"](sim).status_code for _ in range(20)]
    counts = {"submit.refused_503": statuses.count(503), "task.moderated": statuses.count(200)}
    assert sim.client.get("/_simulator/faults").json() == counts
    sim.reset()
    assert sim.client.get("/_simulator/faults").json() == {}


# The server


def test_audit_counts_requests_and_reset_forgets(sim: Simulator) -> None:
    """Counts by provider, call and status; after a reset there is nothing, and old URLs are gone."""
    url = sim.highway_url()
    sim.client.get(url)
    sim.highway("pixverse-v6-i2v", {})
    sim.pixwith("get", {"task_id": "none"})
    counts = sim.client.get("/_simulator/requests").json()
    assert counts["highway"]["submit"] == {"200": 1, "400": 1}
    assert counts["highway"]["media"] == {"200": 1}
    assert counts["highway"]["poll"]["200"] == sim.only_task()["polls"]
    assert counts["pixwith"] == {"poll": {"200": 1}}
    assert sim.only_task()["accepted_at"].endswith("+00:00")
    sim.reset()
    assert sim.audit() == []
    assert sim.client.get("/_simulator/requests").json() == {}
    assert sim.client.get(url).status_code == 404
    assert sim.client.get("/_simulator/health").json() == {}


def test_hundreds_of_concurrent_submissions_are_each_accepted_once(sim: Simulator) -> None:
    """Eight threads, two hundred submissions, one UUID each twice: one is accepted, one conflicts."""
    bodies = [runware() for _ in range(100)]
    with ThreadPoolExecutor(8) as pool:
        statuses = [answer.status_code for answer in pool.map(sim.runware, bodies * 2)]
    assert (statuses.count(200), statuses.count(400)) == (100, 100)
    assert {task["task_id"] for task in sim.audit()} == {body["taskUUID"] for body in bodies}


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_at_once(sent: signal.Signals) -> None:
    """Within three seconds, exit code 0, nothing on stderr; though a download and a rendering are under way."""
    sim = Simulator("--fault", "media.slow=1", "--generation-seconds", FAST)
    assert re.fullmatch(r"simulator ready on http://127\.0\.0\.1:\d+", sim.ready)
    sim.highway(
        "pixverse-pixverse-c1-reference-to-video", c1(resolution="1080p", duration=15, generate_audio_switch=True)
    )
    url = sim.highway_url()
    with sim.client.stream("GET", url) as download:
        started = time.monotonic()
        sim.process.send_signal(sent)
        _, errors = sim.process.communicate(timeout=3)
    assert time.monotonic() - started < 3
    assert download.num_bytes_downloaded < int(download.headers["content-length"])
    assert (sim.process.returncode, errors) == (0, "")
    sim.client.close()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--fault", "submit.lost=0.1"], "unknown fault 'submit.lost'"),
        (["--fault", "task.failed=1.5"], "from 0 to 1"),
        (["--fault", "task.failed=nan"], "from 0 to 1"),
        (["--fault", "task.failed"], "KIND=RATE"),
        (["--fault", "task.failed=often"], "not a number"),
        (["--generation-seconds", "-1"], "0 or more"),
    ],
)
def test_bad_usage_is_named_and_ends_with_2(options: list[str], complaint: str) -> None:
    """An unknown fault, a rate outside 0 to 1, a malformed option."""
    command = [sys.executable, "-m", "pixverse_dagster.simulator", "--port", "0", *options]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 2
    assert complaint in ended.stderr


def test_it_shares_no_code_with_the_product() -> None:
    """No module of the simulator imports any other part of the package."""
    for module in Path(images.__file__).parent.glob("*.py"):
        imported = re.findall(r"^\s*(?:from|import) (pixverse_dagster\S*)", module.read_text(), re.MULTILINE)
        assert all(name.startswith("pixverse_dagster.simulator") for name in imported), module
