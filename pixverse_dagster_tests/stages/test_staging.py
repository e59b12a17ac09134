"""Images get to every provider: taken as they are named, sent along, uploaded once, or behind a signed link."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from pixverse_dagster.core.layout import ImageKey
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.staging import Staged, StagedBytes
from pixverse_dagster.providers.pixwith import Pixwith
from pixverse_dagster.stages.options import PipelineOptions
from pixverse_dagster.stages.read import TableReading, read_table, record_table
from pixverse_dagster.stages.session import Pipeline, Session
from pixverse_dagster.stages.submission import Submission
from pixverse_dagster.stages.submit import submit_rows
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster.storage.s3 import S3Store
from pixverse_dagster.tables import FileTable
from pixverse_dagster_tests.harness.factories import (
    HIGHWAY,
    NAME,
    PIXWITH,
    QUICK,
    RUNWARE,
    Clock,
    poll_until,
    session_in,
)
from pixverse_dagster_tests.harness.images import png
from pixverse_dagster_tests.harness.raw_http import Server, say
from pixverse_dagster_tests.harness.servers import S3Server, Simulator
from pixverse_dagster_tests.harness.stored import collect_all, manifest_of

KITE = png(400, 300)
DUNE = png(600, 400)
MODELS = [HIGHWAY, "highway/pixverse-v4.5-i2v", "highway/pixverse-c1-reference-to-video", RUNWARE, PIXWITH]
SIGNATURE = "s3cretsignature0123456789"


class WebStore(LocalStore):
    """A folder whose files a server has, to whom brings the signature."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.signed: list[str] = []
        self.servers: list[Server] = []

    def sign(self, key: str, seconds: int) -> str:
        self.signed.append(key)
        server = Server(say(200, (Path(self.uri(key))).read_bytes()))
        self.servers.append(server)
        return f"http://127.0.0.1:{server.port}/{key}?X-Amz-Signature={SIGNATURE}&X-Amz-Expires={seconds}"

    def close(self) -> None:
        for server in self.servers:
            server.close()


class Films:
    """A pipeline in a folder, with a table that each test writes, at a simulator."""

    def __init__(self, folder: Path, session: Session) -> None:
        self.folder = folder
        self.session = session
        (folder / "kite.png").write_bytes(KITE)
        (folder / "dune.png").write_bytes(DUNE)
        self.set()

    def set(self, store: Any = None, **options: Any) -> Session:
        """The session again, with these options and this store."""
        pipeline = Pipeline(NAME, FileTable(self.folder / "t.jsonl"), PipelineOptions(pace=QUICK, **options))
        opened: dict[str, Any] = {"open_store": (lambda: store)} if store else {}
        self.session = replace(self.session, pipeline=pipeline, staging=type(self.session.staging)(), **opened)
        return self.session

    def read(self, *rows: tuple[str, str, str]) -> TableReading:
        """A table of rows: id, model, and the image that they name."""
        lines = [json.dumps({"id": key, "model": model, **cells(model, image)}) for key, model, image in rows]
        (self.folder / "t.jsonl").write_text("\n".join(lines))
        reading = read_table(self.session)
        record_table(self.session, reading)
        return reading

    def submit(self, *rows: tuple[str, str, str]) -> dict[str, Submission]:
        reading = self.read(*rows)
        assert reading.problems == ()
        return {one.row: one for one in submit_rows(self.session, [row.id for row in reading.rows])}


def cells(model: str, image: str) -> dict[str, Any]:
    if "c1" in model:
        return {"prompt": "@hero walks", "references": [{"type": "subject", "name": "hero", "image": image}]}
    return {"prompt": "a kite", "image": image, "resolution": "360p"}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def films(tmp_path: Path, server: Simulator, clock: Clock) -> Iterator[Films]:
    (folder := tmp_path / "films").mkdir()
    with session_in(tmp_path, server.url, clock=clock) as session:
        yield Films(folder, session)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[WebStore]:
    store = WebStore(tmp_path / "store")
    yield store
    store.close()


def uri(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def uploads(server: Simulator) -> list[dict[str, Any]]:
    return httpx.get(f"{server.url}/_simulator/uploads", trust_env=False).json()


def lose_uploads(server: Simulator) -> None:
    httpx.post(f"{server.url}/_simulator/uploads/expire", json={"what": "images"}, trust_env=False)


def all_text(folder: Path) -> bytes:
    """Every byte of every file below a folder, the ledger's included."""
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", ["file", "data", "web"])
def test_a_row_may_name_an_image_wherever_it_is_at_every_model(
    films: Films, server: Simulator, store: WebStore, model: str, kind: str
):
    """The provider takes it, whichever it is: the simulator reads what it is given, and refuses what it cannot read."""
    image = {"file": "kite.png", "data": uri(KITE), "web": f"{server.url}/samples/chelsea.png"}[kind]
    films.set(store, download={"allow_private_network": True})
    found = films.submit(("a", model, image))
    assert (found["a"].sent, found["a"].problem) == (True, "")
    assert len(server.tasks()) == 1


def test_the_digest_of_a_request_does_not_say_how_its_image_got_there(films: Films, store: WebStore):
    """It is that of the bytes: a row that was paid for is not another one with another store."""
    films.set(store)
    (one,) = films.read(("a", HIGHWAY, "kite.png")).rows
    films.set(image_store="s3://bucket/images")
    (other,) = films.read(("a", HIGHWAY, "kite.png")).rows
    assert one.digest == other.digest
    assert [image.digest for image in one.images.values()] == [f"sha256:{hashlib.sha256(KITE).hexdigest()}"]


def test_an_image_is_uploaded_once_for_each_content_and_account(films: Films, server: Simulator):
    """However many rows name it, under whatever names, also in a later session; another content is another upload."""
    (films.folder / "copy.png").write_bytes(KITE)
    rows = [(f"r{n}", PIXWITH, "copy.png" if n % 2 else "kite.png") for n in range(6)]
    assert all(one.sent for one in films.submit(*rows).values())
    assert [one["sha256"] for one in uploads(server)] == [hashlib.sha256(KITE).hexdigest()]
    films.set()
    assert films.submit(*rows, ("z", PIXWITH, "dune.png"))["z"].sent
    assert len(uploads(server)) == 2
    assert {call: server.requests()["pixwith"][call] for call in ("pre_url", "upload")} == {
        "pre_url": {"200": 2},
        "upload": {"204": 2},
    }


def test_an_image_is_uploaded_again_before_its_time_ends(films: Films, server: Simulator, clock: Clock):
    """As long as it holds it is named; with little time left it is brought anew."""
    films.submit(("a", PIXWITH, "kite.png"))
    clock.ahead_seconds += 20 * 3600
    films.submit(("a", PIXWITH, "kite.png"), ("b", PIXWITH, "kite.png"))
    assert len(uploads(server)) == 1
    clock.ahead_seconds += 3 * 3600
    films.submit(("c", PIXWITH, "kite.png"))
    assert len(uploads(server)) == 2
    assert len(server.tasks()) == 3


def test_an_image_that_the_provider_lost_is_brought_anew(films: Films, server: Simulator):
    """The refusal costs nothing, the row keeps its place, and its next turn uploads the image again."""
    films.submit(("a", PIXWITH, "kite.png"))
    lose_uploads(server)
    found = films.submit(("b", PIXWITH, "kite.png"))["b"]
    assert "uploaded anew" in str(films.session.ledger.queue.find(NAME, films.session.worlds))
    assert found.problem
    assert len(server.tasks()) == 1
    (again,) = submit_rows(films.session, ["b"])
    assert (again.sent, again.problem) == (True, "")
    assert len(server.tasks()) == 2


def test_a_small_image_goes_to_runware_inside_the_request_and_a_large_one_is_uploaded(films: Films, server: Simulator):
    """Large is what is above 4 MB; of a picture with a side above 2048 px Runware keeps a smaller one."""
    (films.folder / "large.png").write_bytes(png(400, 300, 4_100_000))
    (films.folder / "wide.png").write_bytes(png(2100, 1000, 4_100_000))
    found = films.submit(("a", RUNWARE, "kite.png"), ("b", RUNWARE, "large.png"), ("c", RUNWARE, "wide.png"))
    assert [found[row].problem for row in "abc"] == ["", "", ""]
    assert [one["bytes"] for one in uploads(server)] == [(films.folder / "large.png").stat().st_size]


def test_highway_without_a_place_for_links_is_said_when_the_table_is_read(
    films: Films, store: WebStore, tmp_path: Path
):
    """With both ways out, and only of rows whose image is not on the web; each of the ways then works."""
    films.set(LocalStore(tmp_path / "plain"))
    rows = [("a", HIGHWAY, "kite.png"), ("b", HIGHWAY, uri(KITE)), ("c", PIXWITH, "kite.png")]
    reading = films.read(*rows)
    assert [row.id for row in reading.rows] == ["c"]
    for problem in reading.problems:
        assert problem.column == "image"
        assert "image_store" in problem.message
        assert "image_base" in problem.message
    films.set(store)
    assert films.read(*rows).problems == ()
    films.set(LocalStore(tmp_path / "plain"), image_store="s3://bucket/images")
    assert films.read(*rows).problems == ()


def test_a_store_that_cannot_be_opened_is_no_rows_problem(films: Films):
    """The rows are read all the same; nothing is paid for that the store could not keep."""

    def fail() -> Any:
        raise OSError("away")

    films.session = replace(films.session, open_store=fail)
    assert films.read(("a", HIGHWAY, "kite.png")).problems == ()


def test_a_row_that_has_its_task_keeps_it_where_the_way_is_gone(films: Films, store: WebStore, tmp_path: Path):
    """What is paid for needs no image any more."""
    films.set(store)
    films.submit(("a", HIGHWAY, "kite.png"))
    films.set(LocalStore(tmp_path / "plain"))
    reading = films.read(("a", HIGHWAY, "kite.png"))
    assert ([row.id for row in reading.rows], len(reading.cautions)) == (["a"], 1)


def test_the_signature_of_a_link_stands_nowhere(
    films: Films, server: Simulator, store: WebStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """Not in the ledger, the store, the manifest or a log; the manifest says that the image was staged, and which."""
    caplog.set_level("DEBUG")
    films.set(store)
    found = films.submit(("a", HIGHWAY, "kite.png"))
    tasks = poll_until(films.session, lambda tasks: all(task.state is TaskState.SUCCEEDED for task in tasks), 30)
    manifest = manifest_of(collect_all(films.session, store, tasks)["a"])
    (image,) = manifest.images
    assert (image.sent_as, image.source, image.sent_digest) == ("staged", "kite.png", image.digest)
    assert SIGNATURE in json.dumps(server.tasks())
    for place in (all_text(tmp_path), caplog.text.encode(), manifest.model_dump_json().encode(), repr(found).encode()):
        assert SIGNATURE.encode() not in place
    assert store.signed == [str(ImageKey(NAME, hashlib.sha256(KITE).hexdigest(), "png"))]


class SigningPixwith(Pixwith):
    """Pixwith, if it named what was uploaded by links that are permissions."""

    def stage(self, image: StagedBytes) -> Generator[httpx.Request, httpx.Response, Staged]:
        """As Pixwith's, with a signature."""
        staged = yield from super().stage(image)
        return replace(staged, reference=f"{staged.reference}?X-Amz-Signature={SIGNATURE}")


def test_a_copy_that_is_named_by_a_permission_is_known_to_its_session_alone(
    films: Films, server: Simulator, tmp_path: Path
):
    """It is uploaded once in each, and what would let others read it is in no file."""
    account = films.session.clients["pixwith"]
    provider = SigningPixwith("simulator", f"{server.url}/pixwith")
    films.session = replace(films.session, clients={"pixwith": replace(account, provider=provider)})
    found = films.submit(("a", PIXWITH, "kite.png"), ("b", PIXWITH, "kite.png"))
    assert [one.problem for one in found.values()] == ["", ""]
    assert server.requests()["pixwith"]["pre_url"] == {"200": 1}
    films.set()
    assert films.submit(("c", PIXWITH, "kite.png"))["c"].sent
    assert server.requests()["pixwith"]["pre_url"] == {"200": 2}
    assert SIGNATURE in json.dumps(server.tasks())
    assert SIGNATURE.encode() not in all_text(tmp_path)


def test_nothing_is_brought_anywhere_for_a_row_that_has_its_task(films: Films, server: Simulator):
    """Reading and submitting again names it, and that is all."""
    films.submit(("a", PIXWITH, "kite.png"))
    films.submit(("a", PIXWITH, "kite.png"))
    assert server.requests()["pixwith"]["pre_url"] == {"200": 1}


@pytest.mark.parametrize("kind", ["away", "error"])
def test_a_provider_that_takes_no_uploads_for_now_costs_nothing_and_the_row_waits(
    films: Films, server: Simulator, kind: str
):
    """It keeps its place, and is sent when the provider is well."""
    films.read(("a", PIXWITH, "kite.png"))
    server.sicken("pixwith", kind)
    try:
        (found,) = submit_rows(films.session, ["a"])
    finally:
        server.heal("pixwith")
    assert "it keeps its place in the queue" in found.problem
    assert films.session.ledger.tasks.find(NAME) == []
    assert server.tasks() == []
    (again,) = submit_rows(films.session, ["a"])
    assert again.sent


def test_an_image_in_s3_is_named_by_every_model_and_read_by_a_signed_link(
    films: Films, s3_bucket: tuple[S3Server, str], server: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """With the bucket of the clips, and with an image_store; its signature is in no file here."""
    s3, bucket = s3_bucket
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.endpoint_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
    monkeypatch.setenv("AWS_DEFAULT_REGION", s3.region)
    client = s3.client()
    client.put_object(Bucket=bucket, Key="in/kite.png", Body=KITE)
    films.set(S3Store(client, bucket, "films"))
    rows = [(f"r{n}", model, f"s3://{bucket}/in/kite.png") for n, model in enumerate(MODELS)]
    assert [one.problem for one in films.submit(*rows).values()] == [""] * len(rows)
    films.set(LocalStore(tmp_path / "plain"), image_store=f"s3://{bucket}/pictures", image_base=f"s3://{bucket}/in")
    found = films.submit(*rows, ("x", HIGHWAY, "kite.png"))
    assert (found["x"].sent, found["x"].problem) == (True, "")
    links: list[str] = [task["request"]["image"] for task in server.tasks() if "image" in task["request"]]
    parts = [part for link in links for part in urlsplit(str(link)).query.split("&")]
    signatures = {str(part) for part in parts if "Signature=" in part}
    assert len(signatures) >= 2
    assert [part for part in signatures if part.encode() in all_text(tmp_path)] == []
    gone = films.read(("y", PIXWITH, f"s3://{bucket}/in/none.png"))
    assert "is not there" in gone.problems[0].message
    client.close()
