"""Providers, stores, proxies and hosts that repeat all that they were sent: no secret is in anything that is kept."""

import csv
import json
import threading
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from pixverse_dagster_tests.harness.canaries import FORMS, Canaries, Canary, Leak
from pixverse_dagster_tests.harness.commands import make_home, pixverse, run_dagster, states
from pixverse_dagster_tests.harness.echo import Echo, echoing, refusing
from pixverse_dagster_tests.harness.servers import S3Server, Simulator
from pixverse_dagster_tests.harness.sinks import search_bucket, search_database, search_folder, watching

ROWS = 10
ALL = ("--partition-range", f"r000...r{ROWS - 1:03}")
KEYS = {name: Canary(f"the key at {name}") for name in ("highway", "runware", "pixwith")}
WEBHOOK, UPLOAD = Canary("the webhook's token", is_link=True), Canary("the upload's signature", is_link=True)
IMAGE = Canary("the image's signature", is_link=True)
TABLE, PROXY, DATABASE = Canary("the table's password"), Canary("the proxy's password"), Canary("the ledger's password")
# What nobody can choose: that the links of results and images are signed.
RESULT = Canary("a result's signature", is_link=True, parameter="X-Sim-Signature")
STAGED = Canary("a staged image's signature", is_link=True, parameter="X-Amz-Signature")
GIVEN = frozenset({"PIXVERSE_ACCOUNTS", "PIXVERSE_PROMPTS", "PIXVERSE_LEDGER_URL", "HTTP_PROXY", "HTTPS_PROXY"}) | {
    f"{name.upper()}_API_KEY" for name in KEYS
}
"""Variables that a person has set, and that every process has which that person's processes start."""
COMMANDS = (
    ["plan", "--json"],
    ["tasks", "list"],
    ["tasks", "list", "--json"],
    ["tasks", "show", "r001"],
    ["tasks", "show", "r003", "--json"],
    ["verify"],
    ["costs", "--by", "account"],
    ["accounts", "list"],
    ["check"],
    ["check", "--json"],
    ["gallery"],
    ["clips", "forget", "r002", "--yes"],
)


@contextmanager
def serving(folder: Path) -> Generator[str]:
    """A web server of files."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:  # type: ignore[override]
        """Nothing."""


def with_user(url: str, password: Canary) -> str:
    """A URL with a user and a password."""
    return url.replace("://", f"://me:{quote(password.secret, safe='')}@")


@pytest.mark.parametrize("place", ["local", pytest.param("servers", marks=pytest.mark.cover)])
def test_no_secret_is_in_anything_that_is_kept_or_shown(
    tmp_path: Path, place: str, simulator: Any, request: pytest.FixtureRequest
) -> None:
    """Whoever was sent it and repeats it, in whatever form: the pipeline goes on, and its clips are stored."""
    keys = {canary.secret: f"{name}-account" for name, canary in KEYS.items()}
    running: Simulator = simulator(generation_seconds=0.2, seed=5, keys=keys, faults={"task.moderated": 0.1})
    with ExitStack() as stack:
        api = stack.enter_context(echoing(Echo(running.url, 0.3, refusing, seed=7)))
        files = stack.enter_context(echoing(Echo(stack.enter_context(serving(tmp_path)), 0.4, lambda _line: 503)))
        image = f"{api.url}/samples/coffee.png?X-Amz-Credential=me&X-Amz-Signature={quote(IMAGE.secret, safe='')}"
        table = write_rows(tmp_path / "t.csv", image)
        home, environment, _ = make_home(tmp_path / "home", table, running)
        environment |= {
            "PIXVERSE_SIMULATOR_URL": api.url,
            "PIXVERSE_PROMPTS": f"{with_user(files.url, TABLE)}/t.csv",
            "PIXVERSE_RECORD": str(home / "recorded"),
            "PIXVERSE_RETRY": json.dumps({"provider_error": 1}),
            "PIXVERSE_ACCOUNTS": json.dumps(
                {name: {"api_key": canary.secret, "backoff_seconds": 0.05} for name, canary in KEYS.items()}
            ),
        }
        canaries = Canaries([*KEYS.values(), WEBHOOK, UPLOAD, IMAGE, TABLE, PROXY, DATABASE, RESULT, STAGED])
        kept = Kept(home)
        if place == "servers":
            kept = on_servers(request, environment, home, stack)
        watched = stack.enter_context(watching())
        shown = list(run_through(home, environment, api))
        shown += list(refuse_all(home, environment, api, stack))
        leaks = [leak for where, text in shown for leak in canaries.find(where, text)]
        leaks += [*kept.search(canaries), *watched.search(canaries, given=GIVEN)]
    assert len(api.counts) > len(FORMS), "too little was repeated to prove anything"
    assert not leaks, "\n".join(str(leak) for leak in leaks[:20])


def write_rows(path: Path, image: str) -> Path:
    """Rows of all providers, with every parameter that is a permission: where a model has it."""
    hooks = {
        "webhook_url": f"https://hooks.example.org/in/done?token={quote(WEBHOOK.secret, safe='')}",
        "upload_endpoint": f"https://up.example.org/clip.mp4?X-Goog-Signature={quote(UPLOAD.secret, safe='')}",
    }
    kinds = [
        {"model": "runware/pixverse-v4.5", "resolution": "360p", **hooks},
        {"model": "pixwith/pixverse-v5", "resolution": "360p", "image": image},
        {"model": "highway/pixverse-v6-i2v", "resolution": "360p", "image": image},
    ]
    with path.open("w", newline="") as file:
        rows = csv.DictWriter(file, ["id", "prompt", "model", "resolution", "image", *hooks], restval="")
        rows.writeheader()
        rows.writerows({"id": f"r{n:03}", "prompt": f"a kite {n}", **kinds[n % len(kinds)]} for n in range(ROWS))
    return path


def run_through(home: Path, environment: dict[str, str], api: Echo) -> Iterator[tuple[str, str]]:
    """The whole way of the rows, and every command that shows something of them."""
    for attempt in range(3):
        yield f"the log of reading {attempt}", (log := materialize_somehow(environment, "demo/prompts"))
        if "RUN_SUCCESS" in log:
            break
    for attempt in range(4):
        api.rate = 0.3 if attempt < 3 else 0
        yield f"the log of run {attempt}", materialize_somehow(environment, "demo/clips", *ALL)
    ended = states(home, environment)
    assert ended["stored"] + ended["failed"] >= ROWS, ended
    assert ended["stored"] > ROWS / 2
    api.rate = 0.3
    for words in COMMANDS:
        done = pixverse(*words, home=home, environment=environment, check=False)
        yield " ".join(words), done.stdout + done.stderr


def refuse_all(home: Path, environment: dict[str, str], api: Echo, stack: ExitStack) -> Iterator[tuple[str, str]]:
    """The answers that most often quote a key: those to a wrong key, and those of a proxy that wants a password."""
    api.rate, api.status = 1.0, lambda _line: 401
    other = environment | {"PIXVERSE_NAME": "refused", "PIXVERSE_READ_IMAGE_URLS": "false"}
    yield "the log of a refused reading", materialize_somehow(other, "refused/prompts")
    yield "the log of a refused key", materialize_somehow(other, "refused/tasks", *ALL)
    proxy = stack.enter_context(echoing(Echo("http://127.0.0.1:9", 1.0, lambda _line: 407, seed=3)))
    live = {name: value for name, value in environment.items() if name != "PIXVERSE_ACCOUNTS"}
    live |= {"PIXVERSE_NAME": "proxied", "PIXVERSE_MODE": "live", "NO_PROXY": "127.0.0.1"}
    live |= {f"{name.upper()}_API_KEY": canary.secret for name, canary in KEYS.items()}
    live |= {f"{scheme}_PROXY": with_user(proxy.url, PROXY) for scheme in ("HTTP", "HTTPS")}
    live |= {"PIXVERSE_ACCOUNTS": json.dumps({name: {"backoff_seconds": 0.05} for name in KEYS})}
    yield "the log of a proxied reading", materialize_somehow(live, "proxied/prompts")
    yield "the log behind a proxy", materialize_somehow(live, "proxied/tasks", *ALL)
    for words in (["tasks", "list", "--json"], ["check"]):
        done = pixverse(*words, home=home, environment=live, check=False)
        yield " ".join(["behind a proxy:", *words]), done.stdout + done.stderr


def materialize_somehow(environment: dict[str, str], select: str, *more: str) -> str:
    """Materialise, and return the log of the run, whatever became of it."""
    words = ["asset", "materialize", "-m", "pixverse_dagster.definitions", "--select", select, *more]
    return run_dagster(environment, *words).log


class Kept:
    """What is kept: in the home alone, or in databases and a bucket besides."""

    def __init__(self, home: Path, database: str = "", bucket: tuple[S3Server, str] | None = None) -> None:
        self.home, self.database, self.bucket = home, database, bucket

    def search(self, canaries: Canaries) -> Iterator[Leak]:
        """All of it."""
        yield from search_folder(self.home, canaries)
        if self.database:
            yield from search_database(self.database, canaries)
        if self.bucket:
            server, bucket = self.bucket
            yield from search_bucket(server.client(), bucket, canaries)


def on_servers(request: pytest.FixtureRequest, environment: dict[str, str], home: Path, stack: ExitStack) -> Kept:
    """Ledger in PostgreSQL, clips in a bucket, which repeats what it was sent as well."""
    server, bucket = request.getfixturevalue("s3_bucket")
    database: str = request.getfixturevalue("postgres_database")
    parts = urlsplit(database)
    user, _, place = parts.netloc.rpartition("@")
    name = user.partition(":")[0] or "postgres"
    with_password = parts._replace(netloc=f"{name}:{quote(DATABASE.secret, safe='')}@{place}").geturl()
    store = stack.enter_context(echoing(Echo(server.endpoint_url, 0.1, lambda _line: 503, seed=11)))
    environment |= {
        "PIXVERSE_S3_BUCKET": bucket,
        "PIXVERSE_LEDGER_URL": with_password,
        "AWS_ENDPOINT_URL_S3": store.url,
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "AWS_REGION": server.region,
        "AWS_MAX_ATTEMPTS": "6",
    }
    return Kept(home, database, (server, bucket))
