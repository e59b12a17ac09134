"""Both stores keep the same contract: complete or absent, created once, never changed."""

import base64
import errno
import hashlib
import itertools
import multiprocessing
import os
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse  # pyright: ignore[reportMissingTypeStubs]
from dagster_aws.s3 import S3Resource

from pixverse_dagster.core.errors import PixverseError
from pixverse_dagster.core.layout import clip_folder
from pixverse_dagster.core.manifest import ClipManifest
from pixverse_dagster.stages.store import enter_store
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.documents import scratch_folder
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster.storage.marker import check_form, read_entry, read_marker
from pixverse_dagster.storage.naming import WAYS, Way, link, rename_locked, rename_new
from pixverse_dagster.storage.s3 import S3Store
from pixverse_dagster.storage.syncing import sync
from pixverse_dagster_tests.harness.buckets import s3_client
from pixverse_dagster_tests.harness.putting import Put, put_for_ever, putting
from pixverse_dagster_tests.harness.servers import S3Server, delete_bucket, new_bucket

CLIP = "films/clips/kite/0123456789ab-t1/1.mp4"
LEDGER = "ledgers/one.json"
GOLDEN = Path(__file__).parents[1] / "data" / "manifest.json"
FIRST, SECOND = b"first" * 1000, b"second" * 2000
S3_PAGE = 100
"""How many objects the server lists at a time: not the usual 1000, so that fewer have to be put."""


def no_link(path: Path, target: Path) -> None:
    """As exFAT and SMB answer `link`."""
    raise OSError(errno.EPERM, os.strerror(errno.EPERM), str(path), None, str(target))


def no_rename(path: Path, target: Path) -> None:
    """As a file system answers that does not know the flags of `renameat2`."""
    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(path), None, str(target))


@pytest.fixture(scope="module")
def shared_bucket(s3_server: S3Server) -> Iterator[tuple[Any, str]]:
    """A client, and a bucket in which each test has a prefix of its own: making buckets is slow."""
    client, bucket = s3_client(s3_server), new_bucket(s3_server)

    def ask_for_few(params: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {"MaxKeys": S3_PAGE, **params}

    client.meta.events.register("provide-client-params.s3.ListObjectsV2", ask_for_few)
    yield client, bucket
    client.close()
    delete_bucket(s3_server, bucket)


LOCAL: dict[str, Sequence[Way]] = {
    "local": WAYS,
    "renaming": (no_link, rename_new),
    "locking": (no_link, no_rename, rename_locked),
}
"""A directory by what its file system has: exFAT and SMB have no hard links, and some have no such rename either."""


@pytest.fixture(params=[*LOCAL, "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ClipStore:
    if request.param in LOCAL:
        return LocalStore(tmp_path / "store", LOCAL[request.param])
    client, bucket = request.getfixturevalue("shared_bucket")
    return S3Store(client, bucket, f"/teams/{uuid.uuid4().hex}/")


@pytest.fixture
def put(store: ClipStore, tmp_path: Path) -> Put:
    return putting(store, tmp_path)


Replace = Callable[[str, bytes, bytes], bool]


@pytest.fixture
def replace(store: ClipStore, tmp_path: Path) -> Replace:
    """A function that replaces an object by these bytes, if it has those."""

    def replace(key: str, data: bytes, was: bytes) -> bool:
        path = tmp_path / uuid.uuid4().hex
        path.write_bytes(data)
        digests = {"was": hashlib.sha256(was).hexdigest(), "sha256": hashlib.sha256(data).hexdigest()}
        return store.replace(key, path, **digests, content_type="application/json")

    return replace


def read(store: ClipStore, key: str) -> bytes:
    with store.open(key) as file:
        return file.read()


def test_a_bucket_with_versions_says_that_it_keeps_the_bytes(s3_server: S3Server, tmp_path: Path):
    """Deleted for everybody who reads, and still there for whoever looks at versions."""
    client, bucket = s3_client(s3_server), new_bucket(s3_server)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    store = S3Store(client, bucket)
    putting(store, tmp_path)(CLIP, FIRST)
    assert store.delete(CLIP) is True
    with pytest.raises(FileNotFoundError):
        store.open(CLIP)
    versions = client.list_object_versions(Bucket=bucket)
    for one in [*versions.get("Versions", []), *versions.get("DeleteMarkers", [])]:
        client.delete_object(Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"])
    client.close()
    delete_bucket(s3_server, bucket)


class TestEveryStore:
    def test_what_was_put_is_what_is_read(self, store: ClipStore, put: Put):
        """An object has exactly the bytes that were put, all at once or in pieces, and says how many they are."""
        data = os.urandom(3_000_001)
        assert put(CLIP, data) is True
        assert read(store, CLIP) == data
        assert store.size_bytes(CLIP) == len(data)
        with store.open(CLIP) as file:
            assert file.read(5) + file.read(7) == data[:12]

    def test_a_taken_key_keeps_its_first_bytes(self, store: ClipStore, put: Put):
        """A second put of the same key says False and changes nothing."""
        assert put(CLIP, FIRST) is True
        assert put(CLIP, SECOND) is False
        assert put(CLIP, FIRST) is False
        assert read(store, CLIP) == FIRST

    def test_what_is_deleted_is_gone_and_nothing_else(self, store: ClipStore, put: Put):
        """One object by its key; deleting it again, or what never was, is no error, and its key is free again."""
        other = CLIP.replace("1.mp4", "1.jpg")
        put(CLIP, FIRST)
        put(other, SECOND)
        assert [store.delete(CLIP), store.delete(CLIP), store.delete("films/clips/nobody/1.mp4")] == [False] * 3
        with pytest.raises(FileNotFoundError):
            store.open(CLIP)
        assert list(store.keys("films/")) == [other]
        assert put(CLIP, SECOND) is True

    def test_of_racing_writers_exactly_one_wins_with_all_its_bytes(self, store: ClipStore, put: Put):
        """Sixteen writers of one key at the same moment: one True, and the object is that writer's, whole."""
        together = Barrier(16)
        contents = [bytes([number]) * (200_000 + number) for number in range(16)]

        def write(number: int) -> bool:
            together.wait()
            return put(CLIP, contents[number])

        with ThreadPoolExecutor(16) as pool:
            won = list(pool.map(write, range(16)))
        assert sum(won) == 1
        assert read(store, CLIP) == contents[won.index(True)]

    def test_an_object_is_replaced_only_as_it_was_read(self, store: ClipStore, put: Put, replace: Replace):
        """With the digest of what stands there; another digest, or nothing there, changes nothing."""
        assert replace(LEDGER, FIRST, b"") is False
        assert list(store.keys("ledgers/")) == []
        put(LEDGER, FIRST)
        assert replace(LEDGER, SECOND, SECOND) is False
        assert read(store, LEDGER) == FIRST
        assert replace(LEDGER, SECOND, FIRST) is True
        assert (read(store, LEDGER), store.size_bytes(LEDGER)) == (SECOND, len(SECOND))
        assert replace(LEDGER, FIRST, FIRST) is False
        assert read(store, LEDGER) == SECOND

    def test_of_racing_replacements_exactly_one_wins(self, store: ClipStore, put: Put, replace: Replace):
        """All of them have read the same bytes: one True, and the object is that writer's, whole."""
        together, contents = Barrier(8), [bytes([number]) * 1000 for number in range(8)]
        put(LEDGER, FIRST)

        def write(number: int) -> bool:
            together.wait()
            return replace(LEDGER, contents[number], FIRST)

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(write, range(8)))
        assert sum(won) == 1
        assert read(store, LEDGER) == contents[won.index(True)]

    def test_of_ledgers_and_pipelines_that_enter_at_once_none_is_lost(self, store: ClipStore):
        """The store has one id, and its documents name every pipeline of each ledger."""
        ledgers, names = ["one", "two"] * 4, [f"p{number // 2}" for number in range(8)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(partial(enter_store, store), ledgers, names))
        assert check_form(store, "p0") == read_marker(store)
        found = [read_entry(store, key) for key in store.keys("ledgers/")]
        assert sorted(one.ledger_id for one in found) == ["one", "two"]
        assert {tuple(sorted(one.pipelines)) for one in found} == {("p0", "p1", "p2", "p3")}

    def test_a_missing_object_is_a_file_not_found_error(self, store: ClipStore, put: Put):
        """Absence has the same error everywhere, for reading and for asking the size."""
        put(CLIP, FIRST)
        for key in (CLIP + "x", "films/clips/other/1.mp4", "posters/1.jpg"):
            with pytest.raises(FileNotFoundError):
                store.open(key)
            with pytest.raises(FileNotFoundError):
                store.size_bytes(key)

    def test_keys_lists_what_is_below_a_prefix_and_nothing_else(self, store: ClipStore, put: Put):
        """A pipeline's listing holds nothing of another whose name merely begins alike."""
        mine = {"films/clips/a/1.mp4", "films/clips/a/manifest.json", "films/clips/b/1.mp4"}
        for key in (*mine, "films2/clips/a/1.mp4", "films/clipsy/1.mp4", "posters/clips/a/1.mp4"):
            put(key, key.encode())
        assert set(store.keys("films/clips/")) == mine
        assert set(store.keys("films/clips/a/")) == {key for key in mine if "/a/" in key}
        assert list(store.keys("nothing/here/")) == []

    def test_more_objects_are_listed_than_one_page_holds(self, store: ClipStore, put: Put):
        """A listing is complete when it is long."""
        keys = {f"films/clips/r{number:04}/1.jpg" for number in range(S3_PAGE + 10)}
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(put, keys, itertools.repeat(b".")))
        assert set(store.keys("films/clips/")) == keys

    def test_the_listing_of_the_test_above_has_pages(self, shared_bucket: tuple[Any, str]):
        """What it rests on."""
        client, bucket = shared_bucket
        for number in range(S3_PAGE + 1):
            client.put_object(Bucket=bucket, Key=f"paged/{number}", Body=b"")
        page = client.list_objects_v2(Bucket=bucket, Prefix="paged/")
        assert (len(page["Contents"]), page["IsTruncated"]) == (S3_PAGE, True)

    @pytest.mark.parametrize("row", ["a b", "Привет 世界", "..", ".", "50%", "a%20b", "x" * 100, "~tilde&+=#?;:@'"])
    def test_any_row_name_is_a_folder_of_its_own(self, store: ClipStore, put: Put, row: str):
        """Spaces, other scripts, dots and percent signs in a row's name come back from the listing as they went in."""
        key = f"{clip_folder('films', row, '0' * 64, 1)}/1.mp4"
        assert put(key, FIRST) is True
        assert list(store.keys("films/clips/")) == [key]
        assert read(store, key) == FIRST

    def test_a_uri_names_the_object_for_a_person(self, store: ClipStore):
        """The address ends in the key, and has no credentials."""
        assert store.uri(CLIP).endswith(CLIP)
        assert store.uri(CLIP).startswith(("/", "s3://"))

    def test_no_page_is_claimed_where_nobody_knows_one(self, store: ClipStore):
        """A file, and an S3 server of one's own, have none."""
        assert store.page(CLIP) is None


def test_at_aws_a_clip_has_its_page_in_the_console():
    """Without a permission in it: who may not see the bucket sees nothing."""
    s3 = S3Resource(region_name="eu-central-1")
    client: Any = s3.get_client()
    page = S3Store(client, "media", "teams").page("films/clips/a%20b/1.mp4")
    assert page == (
        "https://console.aws.amazon.com/s3/object/media"
        "?region=eu-central-1&prefix=teams%2Ffilms%2Fclips%2Fa%2520b%2F1.mp4"
    )


# --- a directory


def test_nothing_partial_is_visible_while_a_file_is_stored(tmp_path: Path):
    """Whoever lists the store while it is written to sees each file whole, or not at all."""
    store = LocalStore(tmp_path / "store")
    put, size, over, seen = putting(store, tmp_path), 8_000_000, Event(), list[int]()

    def watch() -> None:
        while not over.is_set():
            seen.extend(store.size_bytes(key) for key in store.keys("films/clips/"))

    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch)
        for number in range(30):
            assert put(f"films/clips/r{number}/1.mp4", b"x" * size)
        over.set()
        watching.result()
    assert set(seen) == {size}


def test_files_on_their_way_are_in_no_pipelines_listing(tmp_path: Path):
    """What a killed process left in `.incoming` is not a clip of anybody's."""
    store = LocalStore(tmp_path / "store")
    (store.scratch() / "leftover").write_bytes(FIRST)
    putting(store, tmp_path)(CLIP, FIRST)
    assert list(store.keys("films/clips/")) == [CLIP]


def test_the_lock_of_replacements_is_not_swept(tmp_path: Path):
    """However old it is: a process that waits for it, and one that comes later, must wait for the same."""
    store = LocalStore(tmp_path)
    lock = store.scratch() / "replace.lock"
    lock.touch()
    os.utime(lock, (0, 0))
    assert list(store.scratch().iterdir()) == [lock]


def immutable(path: Path) -> None:
    """An old file that not even its owner, or root, can remove or rename."""
    path.touch()
    os.utime(path, (0, 0))
    make_immutable(path)


def make_immutable(path: Path) -> None:
    if subprocess.run(["chattr", "+i", path], check=False, capture_output=True).returncode:
        pytest.skip("this file system has no immutable files")


@pytest.fixture
def thawed(tmp_path: Path) -> Iterator[None]:
    """Afterwards everything in the test's folder can be removed again."""
    yield
    subprocess.run(["chattr", "-R", "-f", "-i", tmp_path], check=False)


def folder_of_another(path: Path) -> None:
    path.mkdir()
    immutable(path / "kept")
    os.utime(path, (0, 0))


IN_THE_WAY: dict[str, Callable[[Path], object]] = {
    ".incoming/leftover": immutable,
    ".incoming/folder": folder_of_another,
    ".incoming/loop": lambda path: path.symlink_to(path),
    ".incoming/link": lambda path: path.symlink_to(path.parent),
    ".incoming/pipe": os.mkfifo,
    ".incoming/replace.lock": Path.mkdir,
    ".incoming": Path.touch,
}
SWEPT = {".incoming/loop", ".incoming/link", ".incoming/pipe"}


@pytest.mark.usefixtures("thawed")
@pytest.mark.parametrize("name", IN_THE_WAY)
@pytest.mark.parametrize("ways", [WAYS, (rename_locked,)], ids=["links", "a lock"])
def test_what_cannot_be_swept_is_in_nobodys_way(tmp_path: Path, name: str, ways: Sequence[Way]):
    """Clips and documents are put and replaced as ever; what stands there stays where it cannot be removed."""
    store, place = LocalStore(tmp_path / "store", ways), tmp_path / "store" / name
    place.parent.mkdir(parents=True)
    IN_THE_WAY[name](place)
    if name in SWEPT:
        os.utime(place, (0, 0), follow_symlinks=False)
    for pipeline in ("films", "more"):
        enter_store(store, "l1", pipeline)
    assert read_entry(store, "ledgers/l1.json").pipelines == ("films", "more")
    put = putting(store, tmp_path)
    assert (put(CLIP, FIRST), put(CLIP, SECOND), read(store, CLIP)) == (True, False, FIRST)
    assert os.path.lexists(place) == (name not in SWEPT)
    with scratch_folder(store) as scratch:
        immutable(scratch / "kept")
    assert list(store.keys("films/")) == [CLIP]


@pytest.mark.usefixtures("thawed")
def test_a_folder_for_files_on_their_way_that_takes_none_has_another_beside_it(tmp_path: Path):
    """An immutable one, in which nothing can be made."""
    store = LocalStore(tmp_path / "store")
    (tmp_path / "store" / ".incoming").mkdir(parents=True)
    make_immutable(tmp_path / "store" / ".incoming")
    for pipeline in ("films", "more"):
        enter_store(store, "l1", pipeline)
    assert putting(store, tmp_path)(CLIP, FIRST)


@pytest.mark.parametrize("key", ["../out", "films/../../out", "/etc/passwd", "films/clips/../../../out"])
def test_no_key_leaves_the_root(tmp_path: Path, key: str):
    """A key that leads out of the store is refused, for writing and for reading, and nothing is written."""
    store = LocalStore(tmp_path / "store")
    path = tmp_path / "clip"
    path.write_bytes(FIRST)
    with pytest.raises(ValueError, match="leads out of the store"):
        store.put_new(key, path, sha256="", content_type="video/mp4")
    for call in (store.open, store.size_bytes, store.uri):
        with pytest.raises(ValueError, match="leads out of the store"):
            call(key)
    assert not (tmp_path / "out").exists()


def test_a_link_inside_the_store_does_not_lead_out_of_it(tmp_path: Path):
    """A symbolic link that somebody put into the store is not followed to elsewhere."""
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "films").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="leads out of the store"):
        putting(LocalStore(tmp_path / "store"), tmp_path)(CLIP, FIRST)


def test_a_file_from_elsewhere_is_copied_and_left(tmp_path: Path):
    """A file that is not the store's own is stored by copy: another file system cannot be linked to."""
    store = LocalStore(tmp_path / "store")
    path = tmp_path / "clip"
    path.write_bytes(FIRST)
    assert store.put_new(CLIP, path, sha256="", content_type="video/mp4")
    assert (read(store, CLIP), path.read_bytes()) == (FIRST, FIRST)
    assert list(store.scratch().iterdir()) == []


def test_a_kill_leaves_only_complete_files(tmp_path: Path):
    """However a process ends in the middle of storing many clips, each one that is there is whole."""
    context, root = multiprocessing.get_context("spawn"), tmp_path / "store"
    for ways in LOCAL.values():
        ours, theirs = context.Pipe()
        process = context.Process(target=put_for_ever, args=(root, theirs, ways))
        process.start()
        assert ours.recv() == "under way"
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        ours.close()
        theirs.close()
        store = LocalStore(root)
        sizes = {store.size_bytes(key) for key in store.keys("films/clips/")}
        assert sizes == {300_000}
        root = root.with_name(root.name + "+")


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS])
def test_a_directory_without_hard_links_keeps_clips_all_the_same(tmp_path: Path, number: int):
    """Whichever way the operating system says it: created once, complete, and nothing is left on its way."""

    def refuse(path: Path, target: Path) -> None:
        raise OSError(number, os.strerror(number), str(path), None, str(target))

    store = LocalStore(tmp_path, (refuse, *WAYS[1:]))
    put = putting(store, tmp_path)
    assert (put(CLIP, FIRST), put(CLIP, SECOND), put(CLIP, SECOND)) == (True, False, False)
    assert read(store, CLIP) == FIRST
    assert [path.name for path in store.scratch().iterdir() if path.name != "replace.lock"] == []


def test_a_folder_that_is_a_mount_of_its_own_keeps_clips_all_the_same(tmp_path: Path):
    """Nothing is linked or moved into it from outside; what is on its way inside it is in no listing."""

    def link_inside(path: Path, target: Path) -> None:
        if path.parent.parent != target.parent:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(path), None, str(target))
        link(path, target)

    flushed: list[str] = []
    store = LocalStore(tmp_path / "store", (link_inside,), lambda path: flushed.append(path.parent.name))
    put = putting(store, tmp_path)
    assert (put(CLIP, FIRST), put(CLIP, SECOND)) == (True, False)
    assert flushed.count("~incoming") == 2, "the copy is flushed before it has its name"
    assert read(store, CLIP) == FIRST
    folder = Path(store.uri(CLIP)).parent
    assert [path.name for path in folder.iterdir()] == ["1.mp4"]
    (folder / "~incoming").mkdir()
    (folder / "~incoming" / "left").write_bytes(FIRST)
    assert list(store.keys("films/")) == [CLIP]


def test_a_directory_that_could_overwrite_a_clip_takes_none(tmp_path: Path):
    """Neither links, nor such a rename, nor locks: said so, with what it means for the money and what to do."""
    store = LocalStore(tmp_path, (no_link, no_rename))
    with pytest.raises(PixverseError, match=r"Nothing was stored, and what was paid for stays .* another directory"):
        putting(store, tmp_path)(CLIP, FIRST)
    assert list(store.keys("films/")) == []


def test_a_directory_that_cannot_be_listed_is_no_empty_one(tmp_path: Path):
    """What is not there is not there; whatever else the system says is an error, here that a name is too long."""
    store = LocalStore(tmp_path)
    assert list(store.keys("films/clips/kite/")) == []
    (tmp_path / "films" / "clips").mkdir(parents=True)
    with pytest.raises(OSError, match="too long"):
        list(store.keys(f"films/clips/{'x' * 300}/"))


def test_without_a_lock_nothing_is_renamed_or_replaced(tmp_path: Path):
    """Where files stand for locks that cannot be had, a clip is not stored, rather than over another one."""
    for folder in (".incoming", ".incoming-2", ".incoming-3"):
        for name in ("replace.lock", "replace.lock-2", "replace.lock-3"):
            (tmp_path / folder / name).mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        putting(LocalStore(tmp_path, LOCAL["locking"]), tmp_path)(CLIP, FIRST)
    store = LocalStore(tmp_path)
    assert list(store.keys("films/")) == []
    assert putting(store, tmp_path)(LEDGER, FIRST)
    path = tmp_path / "second"
    path.write_bytes(SECOND)
    digests = {"was": hashlib.sha256(FIRST).hexdigest(), "sha256": hashlib.sha256(SECOND).hexdigest()}
    with pytest.raises(IsADirectoryError):
        store.replace(LEDGER, path, **digests, content_type="application/json")
    assert read(store, LEDGER) == FIRST


def test_a_directory_is_asked_which_names_it_tells_apart(tmp_path: Path):
    """Before it exists and afterwards; nothing of the question is left."""
    root = tmp_path / "mounted" / "store"
    store = LocalStore(root)
    for _ in range(2):
        assert (store.told_apart("kite", "kite"), store.told_apart("kite", "dog")) == (False, True)
        assert not store.told_apart("kite", "./kite")  # a name that every file system takes for the same
        assert [path for path in tmp_path.rglob("*") if path.name not in {"store", ".incoming", "mounted"}] == []
        store.scratch()


def test_a_bucket_tells_all_names_apart():
    """Keys are compared byte for byte; nobody is asked."""
    client: Any = S3Resource(region_name="eu-central-1").get_client()
    assert S3Store(client, "media").told_apart("kite", "Kite")
    client.close()


# --- S3


def test_an_s3_object_carries_its_digest_and_content_type(s3_bucket: tuple[S3Server, str], tmp_path: Path):
    """The digest that was computed while downloading stands in the object's metadata, for any other reader."""
    server, bucket = s3_bucket
    client = s3_client(server)
    store = S3Store(client, bucket)
    putting(store, tmp_path)(CLIP, FIRST)
    assert (list(store.keys("films/clips/")), store.uri(CLIP)) == ([CLIP], f"s3://{bucket}/{CLIP}")
    head = client.head_object(Bucket=bucket, Key=CLIP)
    client.close()
    assert head["Metadata"]["sha256"] == hashlib.sha256(FIRST).hexdigest()
    assert head["ContentType"] == "video/mp4"


def test_a_manifest_is_loaded_by_its_s3_address_without_a_resource(
    s3_bucket: tuple[S3Server, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """With the endpoint, region and credentials of the environment; a key is taken as it is."""
    server, bucket = s3_bucket
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.endpoint_url)
    monkeypatch.setenv("AWS_REGION", server.region)
    monkeypatch.setenv("AWS_DEFAULT_REGION", server.region)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
    client = s3_client(server)
    store, key = S3Store(client, bucket, "teams"), "films/clips/a%20b/0123456789ab-t1/manifest.json"
    putting(store, tmp_path)(key, GOLDEN.read_bytes())
    client.close()
    assert ClipManifest.load(store.uri(key)) == ClipManifest.load(str(GOLDEN))
    with pytest.raises(FileNotFoundError):
        ClipManifest.load(store.uri(f"{key}x"))


class Answer(list[bytes]):
    """The body of a canned answer, as botocore reads it."""

    @classmethod
    def of(cls, request: Any, status: int, *body: bytes) -> AWSResponse:
        headers: dict[str, str] = {}
        return AWSResponse(request.url, status, headers, cls(body))

    def stream(self) -> Iterator[bytes]:
        return iter(self)


@pytest.mark.parametrize(
    ("endpoint", "payload"),
    [
        ("https://s3.example.org", "UNSIGNED-PAYLOAD"),
        ("http://s3.example.org", hashlib.sha256(FIRST).hexdigest()),
    ],
)
def test_s3_is_given_the_digest_and_over_tls_hashes_nothing_twice(tmp_path: Path, endpoint: str, payload: str):
    """The one put is conditional and carries our sha256 as checksum; over TLS the payload is not signed as well."""
    client, sent = s3_client(S3Server(endpoint, "key", "secret")), list[Any]()

    def answer(request: Any, **_: Any) -> AWSResponse:
        sent.append(request)
        return Answer.of(request, 200)

    client.meta.events.register("before-send.s3.PutObject", answer)
    assert putting(S3Store(client, "bucket"), tmp_path)(CLIP, FIRST) is True
    client.close()
    (request,) = sent
    headers = {
        name.lower(): value.decode() if isinstance(value, bytes) else value for name, value in request.headers.items()
    }
    assert headers["x-amz-checksum-sha256"] == base64.b64encode(hashlib.sha256(FIRST).digest()).decode()
    assert headers["x-amz-content-sha256"] == payload
    assert headers["if-none-match"] == "*"
    assert headers["content-length"] == str(len(FIRST))
    assert "secret" not in str(headers)


@pytest.mark.parametrize(("status", "puts"), [(409, 5), (412, 1)])
def test_a_race_that_s3_calls_off_is_run_again_and_a_taken_key_is_not(tmp_path: Path, status: int, puts: int):
    """409 means that two writers met and neither may have won: put again. 412 means that the key is taken."""
    client, sent = s3_client(S3Server("http://s3.example.org", "key", "secret")), list[Any]()
    code = {409: "ConditionalRequestConflict", 412: "PreconditionFailed"}[status]

    def answer(request: Any, **_: Any) -> AWSResponse:
        sent.append(request)
        if len(sent) == puts and status == 409:
            return Answer.of(request, 200)
        return Answer.of(request, status, f"<Error><Code>{code}</Code></Error>".encode())

    client.meta.events.register("before-send.s3.PutObject", answer)
    assert putting(S3Store(client, "bucket"), tmp_path)(CLIP, FIRST) is (status == 409)
    client.close()
    assert len(sent) == puts


def test_a_refused_put_is_an_error_and_not_a_taken_key(s3_bucket: tuple[S3Server, str], tmp_path: Path):
    """A wrong secret or a missing bucket is never taken for a clip that is there already."""
    server, bucket = s3_bucket
    wrong = S3Server(server.endpoint_url, server.access_key, server.secret_key[::-1])
    for account, place, code in ((wrong, bucket, "SignatureDoesNotMatch"), (server, f"{bucket}-not", "NoSuchBucket")):
        client = s3_client(account)
        with pytest.raises(client.exceptions.ClientError, match=code):
            putting(S3Store(client, place), tmp_path)(CLIP, FIRST)
        client.close()


def test_what_a_killed_download_left_is_swept_after_a_day(tmp_path: Path):
    """Today's scratch files may be somebody's; yesterday's are nobody's."""
    store = LocalStore(tmp_path)
    old, new = store.scratch() / "pixverse-old", store.scratch() / "pixverse-new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "1.part").write_bytes(b"half a clip")
    os.utime(old, (0, 0))
    assert [left.name for left in store.scratch().iterdir()] == ["pixverse-new"]


# --- what outlives a power cut


def test_to_flush_is_to_ask_the_system_for_it():
    """What has no disk below it cannot be flushed, and only who asks the system is told so."""
    with pytest.raises(OSError, match=r".") as refused:
        sync(Path(os.devnull))
    assert refused.value.errno in {errno.EINVAL, errno.ENOTSUP, errno.ENOTTY}


class Flushes:
    """A store in a directory, with what it flushed, and whether a file stood under the clip's name then."""

    def __init__(self, root: Path) -> None:
        self.target = root / CLIP
        self.seen: list[tuple[str, bool]] = []
        self.store = LocalStore(root, sync=self._sync)

    def _sync(self, path: Path) -> None:
        sync(path)
        what = str(path.relative_to(self.target.parents[4])) if path.is_dir() else "the file"
        self.seen.append((what, self.target.exists()))


def test_a_file_is_flushed_before_it_has_its_name_and_its_folder_after(tmp_path: Path):
    """And every folder that was made for it before; a power cut between any two steps takes nothing that was said."""
    root = tmp_path / "store"
    root.mkdir()
    flushes = Flushes(root)
    put = putting(flushes.store, tmp_path)
    assert put(CLIP, FIRST)
    folders = [str(Path(CLIP).parents[n]) for n in range(len(Path(CLIP).parents))]
    assert flushes.seen == [
        *[(folder, False) for folder in reversed(folders[1:])],
        ("the file", False),
        (folders[0], True),
    ]
    flushes.seen.clear()
    assert not put(CLIP, SECOND)
    assert (folders[0], True) not in flushes.seen


def test_what_is_replaced_or_deleted_is_flushed(tmp_path: Path):
    """The new bytes before they have the name, the folder after; what a person had deleted does not come back."""
    flushes = Flushes(tmp_path)
    putting(flushes.store, tmp_path)(CLIP, FIRST)
    flushes.seen.clear()
    path = tmp_path / "second"
    path.write_bytes(SECOND)
    digests = {"was": hashlib.sha256(FIRST).hexdigest(), "sha256": hashlib.sha256(SECOND).hexdigest()}
    assert flushes.store.replace(CLIP, path, **digests, content_type="video/mp4")
    folder = str(Path(CLIP).parent)
    assert flushes.seen == [("the file", True), (folder, True)]
    flushes.seen.clear()
    flushes.store.delete(CLIP)
    assert flushes.seen == [(folder, False)]
