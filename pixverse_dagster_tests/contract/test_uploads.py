"""Uploads as the providers have them: what the simulator takes and refuses, and that our providers send just that."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from pixverse_dagster.core.errors import NotSent, ReadFailed, Refused, Unauthorized
from pixverse_dagster.core.staging import StagedBytes
from pixverse_dagster.providers.base import Provider
from pixverse_dagster.providers.highway.protocol import Highway
from pixverse_dagster.providers.pixwith import Pixwith
from pixverse_dagster.providers.runware.protocol import Runware
from pixverse_dagster.transport.client import ProviderClient
from pixverse_dagster.transport.sender import HttpSender, Limits
from pixverse_dagster_tests.harness import raw_http
from pixverse_dagster_tests.harness.images import png
from pixverse_dagster_tests.harness.servers import Simulator, running_simulator

KEY = {"Api-Key": "simulator"}
BEARER = {"Authorization": "Bearer simulator"}
PICTURE = png(400, 300)
OPTIONS = {"prompt_optimization": False, "num_outputs": 1, "resolution": "360p", "aspect_ratio": "16:9", "duration": 5}
LIMIT = 10_000_000
QUICK = Limits(backoff_seconds=0, max_attempts=2)
Parts = list[tuple[str, bytes]]
Change = Callable[[Parts], Parts]


def staged(data: bytes = PICTURE, kind: str = "png") -> StagedBytes:
    return StagedBytes(data, hashlib.sha256(data).hexdigest(), kind)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    keys = {"key-of-another": "another"}
    with running_simulator(tmp_path_factory.mktemp("uploads"), generation_seconds=0, keys=keys) as server:
        yield server


@pytest.fixture
def site(server: Simulator) -> Iterator[httpx.Client]:
    server.reset()
    with httpx.Client(base_url=server.url, trust_env=False) as site:
        yield site


def sign(site: httpx.Client, name: str = "kite.png", kind: str = "image/png") -> dict[str, Any]:
    """A form for one image, as Pixwith gives it, and where the image will be."""
    body = {"image_name": name, "content_type": kind}
    return site.post("/pixwith/api/task/pre_url", json=body, headers=KEY).json()["data"]


def send(site: httpx.Client, url: str, parts: Parts, **headers: str) -> httpx.Response:
    """Send a form with its parts in just this order."""
    lines: list[bytes] = []
    for name, data in parts:
        named = f'form-data; name="{name}"' + ('; filename="kite.png"' if name == "file" else "")
        lines += [f"--edge\r\nContent-Disposition: {named}\r\n\r\n".encode(), data, b"\r\n"]
    kind = {"Content-Type": "multipart/form-data; boundary=edge", **headers}
    return site.post(url, content=b"".join(lines) + b"--edge--\r\n", headers=kind)


def parts_of(form: dict[str, Any], data: bytes = PICTURE) -> Parts:
    return [*((name, value.encode()) for name, value in form["upload_url"]["fields"].items()), ("file", data)]


def create(site: httpx.Client, url: str) -> dict[str, Any]:
    options = {
        "prompt_optimization": False,
        "num_outputs": 1,
        "resolution": "360p",
        "aspect_ratio": "16:9",
        "duration": 5,
    }
    body = {"prompt": "a kite", "model_id": "2-27", "options": options, "image_urls": [url]}
    return site.post("/pixwith/api/task/create", json=body, headers=KEY).json()


def inference(image: Any) -> list[dict[str, Any]]:
    head = {"taskType": "videoInference", "taskUUID": str(uuid4()), "model": "pixverse:1@3", "positivePrompt": "a kite"}
    return [{**head, "resolution": "360p", "inputs": {"frameImages": [image]}}]


def upload_task(**changes: Any) -> dict[str, Any]:
    image = f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"
    task = {"taskType": "imageUpload", "taskUUID": str(uuid4()), "image": image, **changes}
    return {key: value for key, value in task.items() if value is not None}


# Pixwith: a signed form


def test_a_form_is_taken_and_its_image_can_be_named(site: httpx.Client):
    """Before the form is sent there is nothing to fetch: a task that names the image is refused, and free."""
    form = sign(site)
    assert create(site, form["image_url"])["code"] == 0
    assert send(site, form["upload_url"]["url"], parts_of(form)).status_code == 204
    assert site.get(form["image_url"]).content == PICTURE
    assert create(site, form["image_url"])["code"] == 1
    assert len(site.get("/_simulator/tasks").json()) == 1


def _file_first(parts: Parts) -> Parts:
    return [parts[-1], *parts[:-1]]


def _file_before_the_last(parts: Parts) -> Parts:
    return [*parts[:-2], parts[-1], parts[-2]]


def _without(name: str) -> Change:
    def change(parts: Parts) -> Parts:
        return [part for part in parts if part[0] != name]

    return change


def _with(name: str, value: bytes) -> Change:
    def change(parts: Parts) -> Parts:
        return [(each, value if each == name else data) for each, data in parts]

    return change


def _with_another(parts: Parts) -> Parts:
    return [("acl", b"public-read"), *parts]


WRONG: list[tuple[Change, int, str]] = [
    (_file_first, 400, "InvalidArgument"),
    (_file_before_the_last, 403, "AccessDenied"),
    (_without("file"), 400, "InvalidArgument"),
    (_without("key"), 400, "InvalidArgument"),
    (_without("policy"), 403, "AccessDenied"),
    (_without("Content-Type"), 403, "AccessDenied"),
    (_without("x-amz-signature"), 403, "AccessDenied"),
    (_without("x-amz-date"), 403, "AccessDenied"),
    (_with("Content-Type", b"image/gif"), 403, "AccessDenied"),
    (_with("key", b"uploads/other/kite.png"), 403, "SignatureDoesNotMatch"),
    (_with("x-amz-signature", b"0" * 64), 403, "SignatureDoesNotMatch"),
    (_with("file", b""), 400, "EntityTooSmall"),
    (_with("file", bytes(LIMIT + 1)), 400, "EntityTooLarge"),
    (_with_another, 403, "AccessDenied"),
]


@pytest.mark.parametrize(("change", "status", "code"), WRONG)
def test_a_form_that_is_not_as_it_was_signed_is_refused(site: httpx.Client, change: Change, status: int, code: str):
    """Order, presence, value and size are checked as S3 checks them, and nothing is kept."""
    form = sign(site)
    answer = send(site, form["upload_url"]["url"], change(parts_of(form)))
    assert (answer.status_code, f"<Code>{code}</Code>" in answer.text) == (status, True), answer.text
    assert site.get(form["image_url"]).status_code == 404
    assert site.get("/_simulator/uploads").json() == []


def test_a_file_just_at_the_limit_is_taken(site: httpx.Client):
    """The limit itself is allowed."""
    form = sign(site)
    assert (
        send(site, form["upload_url"]["url"], parts_of(form, png(400, 300) + bytes(LIMIT - len(PICTURE)))).status_code
        == 204
    )


def test_a_form_ends(site: httpx.Client):
    """After ten minutes it is not taken, and another one is to be asked for."""
    form = sign(site)
    assert site.post("/_simulator/uploads/expire", json={"what": "forms"}).json() == {"expired": 1}
    answer = send(site, form["upload_url"]["url"], parts_of(form))
    assert (answer.status_code, "Policy expired" in answer.text) == (403, True)
    form = sign(site)
    assert send(site, form["upload_url"]["url"], parts_of(form)).status_code == 204


def test_a_form_with_the_key_of_the_account_is_refused(site: httpx.Client):
    """The store is not the provider: who sends it the API key has given it away."""
    form = sign(site)
    for headers in (KEY, BEARER):
        assert send(site, form["upload_url"]["url"], parts_of(form), **headers).status_code == 400


NAMES = [
    {"image_name": "kite.gif", "content_type": "image/gif"},
    {"image_name": "kite.webp", "content_type": "image/webp"},
    {"image_name": "kite.png", "content_type": "image/jpeg"},
    {"image_name": "../kite.png", "content_type": "image/png"},
    {"image_name": "kite.png"},
    {"content_type": "image/png"},
    {"image_name": "kite.png", "content_type": "image/png", "size": 1},
]


@pytest.mark.parametrize("names", NAMES)
def test_a_form_is_signed_for_jpeg_and_png_alone(site: httpx.Client, names: dict[str, Any]):
    """Both fields, and nothing else."""
    assert site.post("/pixwith/api/task/pre_url", json=names, headers=KEY).json()["code"] == 0


def test_a_form_is_signed_for_a_customer_alone(site: httpx.Client):
    """A wrong key is code 2, as with the other calls."""
    names = {"image_name": "kite.png", "content_type": "image/png"}
    assert site.post("/pixwith/api/task/pre_url", json=names, headers={"Api-Key": "wrong"}).json()["code"] == 2


# Runware: a task


def test_an_uploaded_image_is_named_by_its_uuid(site: httpx.Client):
    """The UUID is of the account: another's customer may not name it, and one that is gone nobody may."""
    task = upload_task()
    (row,) = site.post("/runware/v1", json=[task], headers=BEARER).json()["data"]
    assert (row["taskType"], row["taskUUID"]) == ("imageUpload", task["taskUUID"])
    others = {"Authorization": "Bearer key-of-another"}
    assert site.post("/runware/v1", json=inference(row["imageUUID"]), headers=others).status_code == 400
    assert site.post("/runware/v1", json=inference(row["imageUUID"]), headers=BEARER).status_code == 200
    site.post("/_simulator/uploads/expire", json={"what": "images"})
    assert site.post("/runware/v1", json=inference(row["imageUUID"]), headers=BEARER).status_code == 400
    assert len(site.get("/_simulator/tasks").json()) == 1


BAD_TASKS = [
    ("missingImage", upload_task(image=None)),
    ("missingTaskUUID", upload_task(taskUUID=None)),
    ("invalidTaskUUID", upload_task(taskUUID="kite")),
    ("invalidImage", upload_task(image="not base64!")),
    ("invalidImage", upload_task(image="http://127.0.0.1:9/kite.png")),
    ("unsupportedImage", upload_task(image=base64.b64encode(b"GIF89a" + bytes(300)).decode())),
    ("unknownParameter", upload_task(name="kite")),
]


@pytest.mark.parametrize(("code", "task"), BAD_TASKS)
def test_an_upload_that_breaks_a_rule_is_refused(site: httpx.Client, code: str, task: dict[str, Any]):
    """HTTP 400 with one error that names the rule, and nothing is kept."""
    answer = site.post("/runware/v1", json=[task], headers=BEARER)
    assert (answer.status_code, [error["code"] for error in answer.json()["errors"]]) == (400, [code])
    assert site.get("/_simulator/uploads").json() == []


# Images behind links


def test_a_link_that_cannot_be_fetched_refuses_the_task(site: httpx.Client, server: Simulator):
    """Nobody listens there, the file is not there, or it is a page: refused by each provider, and free."""
    page = f"{server.url}/_simulator/requests"
    for link in ("http://127.0.0.1:9/kite.png", f"{server.url}/samples/none.png", page):
        body = {"prompt": "a kite", "image": link}
        assert site.post("/highway/v3/async/pixverse-v6-i2v", json=body, headers=BEARER).status_code == 400
        assert create(site, link)["code"] == 0
        assert site.post("/runware/v1", json=inference(link), headers=BEARER).status_code == 400
    assert site.get("/_simulator/tasks").json() == []


def test_a_link_of_another_server_is_fetched(site: httpx.Client, server: Simulator, tmp_path: Path):
    """It is the image behind it that is checked and that gives the clip its shape."""
    with running_simulator(tmp_path, generation_seconds=0) as other:
        body = {"prompt": "a kite", "image": f"{other.url}/samples/rocket.jpg", "resolution": "360p"}
        assert site.post("/highway/v3/async/pixverse-v6-i2v", json=body, headers=BEARER).status_code == 200
        assert create(site, f"{other.url}/samples/none.png")["code"] == 0
    assert len(server.tasks()) == 1


# What our providers send


def client(provider: type[Provider], url: str, key: str = "simulator") -> ProviderClient:
    return ProviderClient(provider(key, f"{url}/{provider.NAME}"), HttpSender(QUICK))


STAGING = [(Pixwith, png(400, 300), "png"), (Runware, png(500, 400), "png")]


@pytest.mark.parametrize(("provider", "data", "kind"), STAGING)
def test_a_provider_brings_the_bytes_there(
    server: Simulator, site: httpx.Client, provider: type[Provider], data: bytes, kind: str
):
    """Byte for byte, to the account whose key it is; and the reference is what a request may name."""
    account = client(provider, server.url)
    found = account.stage(staged(data, kind))
    account.close()
    (kept,) = site.get("/_simulator/uploads").json()
    assert (kept["sha256"], kept["account"]) == (hashlib.sha256(data).hexdigest(), "simulator")
    assert found.lasts_seconds
    if provider is Pixwith:
        assert create(site, found.reference)["code"] == 1
    else:
        assert site.post("/runware/v1", json=inference(found.reference), headers=BEARER).status_code == 200
    assert server.requests()[provider.NAME]


@pytest.mark.parametrize(("provider", "data", "kind"), STAGING)
def test_a_wrong_key_is_told_as_such(server: Simulator, provider: type[Provider], data: bytes, kind: str):
    """As for a submit: the account's trouble, not the row's."""
    account = client(provider, server.url, "wrong-key")
    with pytest.raises(Unauthorized):
        account.stage(staged(data, kind))
    account.close()


def test_what_a_provider_does_not_take_is_refused(server: Simulator):
    """A file over the limit, and a kind that no form is signed for: told so, and not tried again and again."""
    account = client(Pixwith, server.url)
    for image in (staged(png(400, 300, LIMIT)), staged(b"RIFF", "webp")):
        with pytest.raises(Refused) as refused:
            account.stage(image)
        assert str(refused.value).startswith("Not charged.")
    account.close()


@pytest.mark.parametrize("kind", ["away", "error", "html", "wrong_types"])
@pytest.mark.parametrize("provider", [Pixwith, Runware])
def test_a_provider_that_is_sick_has_no_image_for_now(server: Simulator, provider: type[Provider], kind: str):
    """Every answer that is none says nothing of the image: it is tried again later, and nothing was spent."""
    server.reset()
    server.sicken(provider.NAME, kind)
    account = client(provider, server.url)
    try:
        with pytest.raises((ReadFailed, NotSent)) as failed:
            account.stage(staged())
        assert "Nothing" in str(failed.value)
    finally:
        server.heal(provider.NAME)
        account.close()
    assert server.tasks() == []


@pytest.mark.parametrize("place", ["127.0.0.2", "[::ffff:127.0.0.1]", "0x7f000002", "10.0.0.1", "[fd00::1]"])
def test_an_image_is_not_sent_into_the_private_network_on_a_providers_word(place: str):
    """The form that it answers with may name any host: its own, or one that the internet at large has."""
    form = {"upload_url": {"url": f"http://{place}:9/put", "fields": {"key": "k"}}, "image_url": "https://x.invalid/k"}
    answer = json.dumps({"code": 1, "message": "ok", "data": form}).encode()
    provider = raw_http.Server(raw_http.say(200, answer))
    account = client(Pixwith, f"http://127.0.0.1:{provider.port}")
    with pytest.raises(NotSent, match="leads to the private address"):
        account.stage(staged())
    account.close()
    provider.close()
    assert all(b"pre_url" in request for request in provider.requests)


def test_highway_takes_no_uploads():
    """Its API has no such call."""
    assert not Highway.TAKES_UPLOADS
    assert Pixwith.TAKES_UPLOADS
    assert Runware.TAKES_UPLOADS
