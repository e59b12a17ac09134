"""Prompt tables behind URLs and in S3: read like files, within the download rules, and never by half."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, quote

import pytest

from pixverse_dagster.core.errors import InvalidTable
from pixverse_dagster.tables import FileTable, open_table
from pixverse_dagster.tables.kinds import served_format
from pixverse_dagster.tables.notes import FileSettings
from pixverse_dagster.transport.download import DownloadRules
from pixverse_dagster_tests.harness.servers import S3Server
from pixverse_dagster_tests.harness.tables import CELLS, TABLES, arrow, as_parquet

fsspec: Any = import_module("fsspec")
UPath: Any = import_module("upath").UPath
OPEN = DownloadRules(allow_private_network=True, max_attempts=1)


class Files(SimpleHTTPRequestHandler):
    """A folder by HTTP."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Silent."""


@pytest.fixture
def kind() -> type[Files]:
    """The handler of a site, unless a test has its own."""
    return Files


@pytest.fixture
def site(tmp_path: Path, kind: type[Files]) -> Iterator[str]:
    """The tables by HTTP; the URL of their folder."""
    for name, data in TABLES.items():
        (tmp_path / name).write_bytes(data)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(kind, directory=tmp_path)) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", TABLES)
def test_a_table_behind_a_url_is_read_like_a_file(site: str, name: str):
    """Its kind is in the URL's path; its query string, which may be a permission, is in nothing that is shown."""
    table = FileTable(f"{site}{name}?token=s3cret", rules=OPEN)
    assert [row.cells for row in table.read()] == CELLS == [row.cells for row in table.read()]
    assert [row.cells for row in FileTable(site + name, 1, rules=OPEN).read()] == CELLS[:1]
    assert (table.describe(), table.folder) == (f"{site}{name}?…", site)


REFUSED = [
    ("rows.csv", DownloadRules(), "private address"),
    ("rows.csv", DownloadRules(allow_private_network=True, max_bytes=10), "larger than 10 bytes"),
    ("none.csv", OPEN, "HTTP 404"),
    ("rows.html", OPEN, r"not '\.html'"),
]


@pytest.mark.parametrize(("name", "rules", "words"), REFUSED, ids=[case[2] for case in REFUSED])
def test_what_a_url_may_name_is_limited_by_the_download_rules(site: str, name: str, rules: DownloadRules, words: str):
    """As for clips and images: size, private networks; and the error gives nothing away."""
    with pytest.raises(InvalidTable, match=words) as refused:
        list(FileTable(f"{site}{name}?token=s3cret".replace("//", "//user:s3cret@"), rules=rules).read())
    assert "s3cret" not in str(refused.value)
    assert "Nothing was sent" in str(refused.value)


def test_a_table_in_s3_is_read_with_the_client_that_is_given(s3_bucket: tuple[S3Server, str]):
    """Streamed if it is text, copied if it is Parquet within a limit; first_rows as of any file."""
    server, bucket = s3_bucket
    with closing(server.client()) as client:
        for name, data in TABLES.items():
            client.put_object(Bucket=bucket, Key=f"in/{name}", Body=data)
    for name in TABLES:
        table = FileTable(f"s3://{bucket}/in/{name}", s3=server.client)
        assert [row.cells for row in table.read()] == CELLS
        assert (table.describe(), table.folder) == (f"s3://{bucket}/in/{name}", ".")
    assert [row.cells for row in FileTable(f"s3://{bucket}/in/rows.csv", 1, s3=server.client).read()] == CELLS[:1]
    with pytest.raises(InvalidTable, match=r"rows\.parquet: larger than 100 bytes"):
        list(FileTable(f"s3://{bucket}/in/rows.parquet", rules=DownloadRules(max_bytes=100), s3=server.client).read())


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
def test_of_an_object_in_s3_one_version_is_read(s3_bucket: tuple[S3Server, str], name: str):
    """Whoever puts another one meanwhile: no row of it is among those of the first."""
    server, bucket = s3_bucket

    def content(word: str) -> bytes:
        rows = [{"id": f"r{n}", "prompt": f"{word} {n} " + "x" * 200} for n in range(8000)]
        if name == "rows.csv":
            return ("id,prompt\n" + "".join(f"{row['id']},{row['prompt']}\n" for row in rows)).encode()
        return as_parquet(arrow.table({key: [row[key] for row in rows] for key in rows[0]}), row_group_size=1000)

    with closing(server.client()) as client:
        client.put_object(Bucket=bucket, Key=name, Body=content("kite"))
        reading = FileTable(f"s3://{bucket}/{name}", s3=server.client).read()
        words = {str(next(reading).cells["prompt"]).split()[0]}
        client.put_object(Bucket=bucket, Key=name, Body=content("dune"))
        words |= {str(row.cells["prompt"]).split()[0] for row in reading}
    assert words == {"kite"}


def test_a_table_in_s3_is_found_by_the_environment(s3_bucket: tuple[S3Server, str], monkeypatch: pytest.MonkeyPatch):
    """Endpoint and credentials as AWS's SDK takes them; what is missing or forbidden is said."""
    server, bucket = s3_bucket
    with closing(server.client()) as client:
        client.put_object(Bucket=bucket, Key="rows.csv", Body=TABLES["rows.csv"])
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.endpoint_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
    assert [row.cells for row in FileTable(f"s3://{bucket}/rows.csv").read()] == CELLS
    with pytest.raises(InvalidTable, match=r"none\.csv: cannot be read from S3 .*NoSuchKey.*Nothing was sent"):
        list(FileTable(f"s3://{bucket}/none.csv").read())
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(InvalidTable, match=r"cannot be read from S3 .*credentials"):
        list(FileTable(f"s3://{bucket}/rows.csv").read())


class Halves(Files):
    """Says how long a file is, and ends after half of it."""

    def do_GET(self) -> None:
        data = TABLES["rows.csv"]
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2])


@pytest.mark.parametrize("kind", [Halves])
def test_a_stream_that_ends_early_is_no_table(site: str):
    """From S3 or by http: half of the rows are never taken for all of them."""
    client = S3Server(site, "key", "secret").client
    with pytest.raises(InvalidTable, match=r"cannot be read from S3 .*Nothing was sent"):
        list(FileTable("s3://bucket/rows.csv", s3=client).read())
    with pytest.raises(InvalidTable, match=r"could not be read to its end .*Nothing was sent"):
        list(FileTable(f"{site}rows.csv", rules=OPEN).read())


def test_any_other_url_is_refused(tmp_path: Path):
    """A database's leads to SqlTable, without its password; a folder is no file."""
    with pytest.raises(InvalidTable, match=r"db\.example/films\.csv: .*SqlTable") as refused:
        list(FileTable("postgresql://user:s3cret@db.example/films.csv").read())
    assert "s3cret" not in str(refused.value)
    for bad in ("http://[bad/rows.csv", "a\0.csv"):
        with pytest.raises(InvalidTable, match="Nothing was sent"):
            list(FileTable(bad).read())
    (tmp_path / "rows.csv").mkdir()
    with pytest.raises(InvalidTable, match=r"rows\.csv: cannot be read"):
        list(FileTable(tmp_path / "rows.csv").read())


class Exports(Files):
    """Export pages: an address without an ending that leads to another one, as those of Google Sheets."""

    def do_GET(self) -> None:
        place, _, query = self.path.partition("?")
        if place.startswith("/export"):
            self.send_response(307)
            self.send_header("Location", f"/content?{query}")
            self.end_headers()
            return
        name = query.rpartition("=")[2]
        said = dict(parse_qsl(query)).get("said", "application/octet-stream")
        data = b"<!DOCTYPE html><title>Log in</title>" if name == "login" else TABLES[f"rows.{name}"]
        self.send_response(200)
        self.send_header("Content-Type", said)
        self.end_headers()
        self.wfile.write(data)


@pytest.mark.parametrize("kind", [Exports])
def test_an_address_without_an_ending_is_read_as_what_it_gives(site: str):
    """As its query, the options or the content have it, behind redirects; a login page is no table."""
    for name in ("csv", "jsonl", "parquet"):
        for place in (f"export?format={name}", f"pub.php?gid=0&output={name}", f"export?what={name}"):
            assert [row.cells for row in FileTable(site + place, rules=OPEN).read()] == CELLS
        said = FileTable(f"{site}export?format=csv&what={name}", rules=OPEN, settings=FileSettings(name))
        assert [row.cells for row in said.read()] == CELLS
    with pytest.raises(InvalidTable, match=r"web page, such as a login.*Nothing was sent"):
        list(FileTable(f"{site}export?what=login", rules=OPEN).read())


SHEET = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
SERVED = {
    "text/csv; charset=utf-8": ".csv",
    "Text/Tab-Separated-Values": ".tsv",
    "application/json": ".json",
    "application/x-ndjson": ".ndjson",
    "application/vnd.apache.parquet": ".parquet",
    SHEET: ".xlsx",
    "text/plain": None,
    "application/octet-stream": None,
    "": None,
}


def test_a_content_type_that_is_a_tables_is_known():
    """Whatever its case and its parameters; one that many things have says nothing."""
    assert {said: served_format(said) for said in SERVED} == SERVED


@pytest.mark.parametrize("kind", [Exports])
def test_a_host_says_what_it_gives_where_the_address_does_not(site: str):
    """Behind a redirect: by its `Content-Type`; what a person, the query or the ending say comes before it."""
    for said, name in (("text/csv; charset=utf-8", "csv"), ("application/json", "jsonl"), ("text/plain", "parquet")):
        found = FileTable(f"{site}export?said={quote(said)}&what={name}", rules=OPEN)
        assert [row.cells for row in found.read()] == CELLS
    for said, words in (("application/vnd.apache.parquet", "as Parquet"), (SHEET, "workbook")):
        wrong = f"said={quote(said)}&what=csv"
        with pytest.raises(InvalidTable, match=words):
            list(FileTable(f"{site}export?{wrong}", rules=OPEN).read())
        for place in ("export.csv?", "export?format=csv&", "export.parquet?format=csv&"):
            assert [row.cells for row in FileTable(site + place + wrong, rules=OPEN).read()] == CELLS
        person = FileTable(f"{site}export?format=parquet&{wrong}", rules=OPEN, settings=FileSettings("csv"))
        assert [row.cells for row in person.read()] == CELLS


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_read_from_wherever_fsspec_reaches(name: str):
    """Also as a UPath; what is not there or not installed is said in one sentence."""
    fsspec.filesystem("memory").pipe({f"/in/{name}": TABLES[name]})
    for source in (f"memory://in/{name}", UPath(f"memory://in/{name}")):
        table = open_table(source)
        assert isinstance(table, FileTable)
        assert [row.cells for row in table.read()] == CELLS
        assert not table.can_be_watched
    with pytest.raises(InvalidTable, match=r"cannot be read \(FileNotFoundError.*Nothing was sent"):
        list(FileTable(f"memory://none/{name}").read())
    with pytest.raises(InvalidTable, match=r"larger than 5 bytes"):
        list(FileTable(f"memory://in/{name}", rules=DownloadRules(max_bytes=5)).read())
    with pytest.raises(InvalidTable, match=r"cannot be read .*library for gs:// is installed") as refused:
        list(FileTable(f"gs://bucket/{name}").read())
    assert "gcsfs" in str(refused.value)
