"""`gallery --presign` on the command line: what is refused before anything is written, and what is said in the end."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pixverse_dagster.cli import cli
from pixverse_dagster.storage.s3 import S3Store
from pixverse_dagster_tests.harness.buckets import s3_client
from pixverse_dagster_tests.harness.servers import S3Server

# Dagster marks much of what it does here itself as beta, and meets its own deprecated names.
pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster._utils.warnings.BetaWarning"),
    pytest.mark.filterwarnings("ignore:.*dagster_run:DeprecationWarning"),
]
DEFINITIONS = """
from dagster_aws.s3 import S3Resource
from pixverse_dagster import LocalClipIOManager, RunwareResource, S3ClipIOManager, build_clips_definitions

providers = [RunwareResource(api_key="k", base_url="http://127.0.0.1:1")]
defs = build_clips_definitions("films", [], providers=providers, clips={clips})
"""
LOCAL = 'LocalClipIOManager(base_dir="clips")'


def run(folder: Path, clips: str, *words: str) -> Result:
    """`gallery` on a project whose clips are there."""
    (folder / "films.py").write_text(DEFINITIONS.format(clips=clips))
    (folder / "home").mkdir(exist_ok=True)
    (folder / "home" / "dagster.yaml").touch()
    options = ["-f", str(folder / "films.py"), "-d", str(folder), "--home", str(folder / "home")]
    return CliRunner().invoke(cli, ["gallery", *words, *options])


def bucket_of(server: S3Server, bucket: str) -> str:
    """The bucket, as definitions configure it."""
    client = {
        "endpoint_url": server.endpoint_url,
        "region_name": server.region,
        "aws_access_key_id": server.access_key,
        "aws_secret_access_key": server.secret_key,
    }
    return f"S3ClipIOManager(s3=S3Resource(**{client!r}), bucket={bucket!r})"


def test_a_folder_has_no_links_to_sign(tmp_path: Path):
    """It says so, what else there is, and writes nothing."""
    ran = run(tmp_path, LOCAL, "--presign", "7d", "--out", str(tmp_path / "out"))
    assert ran.exit_code == 2, ran.output
    assert "files have no links that could be signed. Nothing was written" in ran.output
    assert "pixverse-dagster gallery" in ran.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["7", "d", "-1d", "0d", "1w", "7 days", ""])
def test_what_is_no_time_is_refused(tmp_path: Path, text: str):
    """With the ways in which one is written."""
    ran = run(tmp_path, LOCAL, "--presign", text)
    assert ran.exit_code == 2
    assert "write 7d, 12h, 30m or 90s" in ran.output


def test_one_file_is_written_for_its_owner_and_says_until_when(tmp_path: Path, s3_bucket: tuple[S3Server, str]):
    """It is no file of the store, its page names no path of this machine, and a longer time than can be had is said."""
    server, bucket = s3_bucket
    clips, out = bucket_of(server, bucket), tmp_path / "out"
    without = run(tmp_path, clips, "--presign", "7d")
    assert without.exit_code == 2
    assert "--presign 7d --out DIR" in without.output
    ran = run(tmp_path, clips, "--presign", "30d", "--out", str(out))
    assert ran.exit_code == 0, ran.output
    assert ": links live seven days at most" in ran.output
    (page,) = out.iterdir()
    assert (page.name, stat.S_IMODE(page.stat().st_mode)) == ("index.html", 0o600)
    text = page.read_text()
    assert str(tmp_path) not in text
    assert server.secret_key not in text
    assert "pixverse-dagster gallery --presign 30d --out DIR --pipeline films" in text
    assert f"img-src {server.endpoint_url}; media-src {server.endpoint_url};" in text
    said: Any = json.loads(run(tmp_path, clips, "--presign", "1h", "--out", str(out), "--json").stdout)
    until = datetime.fromisoformat(said["links_until"])
    assert timedelta(minutes=59) < until - datetime.now(UTC) <= timedelta(hours=1)
    assert said["links_seconds"] == 3_600
    assert list(S3Store(s3_client(server), bucket).keys("films/gallery/")) == []


def test_a_gallery_of_many_files_is_not_made_into_one(tmp_path: Path, s3_bucket: tuple[S3Server, str]):
    """Its page would be lost."""
    out = tmp_path / "out"
    (out / "data").mkdir(parents=True)
    (out / "data" / "index.js").touch()
    ran = run(tmp_path, bucket_of(*s3_bucket), "--presign", "1h", "--out", str(out))
    assert ran.exit_code == 2
    assert "Give another folder" in ran.output
