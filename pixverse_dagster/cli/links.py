"""`gallery --presign`: the page of the clips as one file with signed links, for people without access to the bucket."""

import os
import re
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from pixverse_dagster.cli.documents import Document
from pixverse_dagster.cli.project import Project
from pixverse_dagster.core.commands import CommandLine
from pixverse_dagster.core.layout import clips_prefix
from pixverse_dagster.reports.gallery.presigned import make_presigned
from pixverse_dagster.storage.signing import LONGEST_SECONDS, LinkSigner, SigningStore

_TIME = re.compile(r"([1-9][0-9]{0,6})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


@dataclass(frozen=True)
class Asked:
    """For how long links shall work, as it was written."""

    text: str
    seconds: int


def read_time(context: click.Context, option: click.Parameter, value: str | None) -> Asked | None:
    """A time such as `7d`, `12h`, `30m` or `90s`. Raises BadParameter for what is none."""
    if value is None:
        return None
    found = _TIME.fullmatch(value.strip())
    if found is None:
        raise click.BadParameter(f"{value!r} is no time: write 7d, 12h, 30m or 90s", context, option)
    return Asked(found.group(), int(found.group(1)) * _UNITS[found.group(2)])


class LinksDocument(Document):
    """Where the page with signed links is, what it shows, and until when."""

    uri: str
    clips: int
    rows_without_clip: int
    bytes_written: int
    links_until: str
    links_seconds: int


@dataclass(frozen=True)
class WrittenLinks:
    """The file that was written, what it shows, and until when."""

    path: Path
    size_bytes: int
    clips: int
    rows_without_clip: int
    signer: LinkSigner


def write_links(
    project: Project, out: Path | None, asked: Asked, dagster_url: str | None, *, full: bool
) -> WrittenLinks:
    """Write `index.html` into the folder. Nothing in the store changes.

    Raises UsageError, before anything is written, where the store has no links, or where the folder is none for it.
    """
    store, name = project.store, project.name
    plain = project.commands.render("gallery")
    if not isinstance(store, SigningStore):
        raise click.UsageError(
            f"the clips of {name!r} are in {store.uri(clips_prefix(name))}: files have no links that could be signed. "
            f"Nothing was written. A page that opens beside them, and can be copied with them: {plain}"
        )
    if out is None:
        raise click.UsageError(
            "a page with signed links is not put into the store, for whoever has it can see the clips. Nothing was "
            f"written. Say where to: {project.commands.render('gallery', '--presign', asked.text, '--out', 'DIR')}"
        )
    if (out / "data" / "index.js").exists():
        raise click.UsageError(
            f"{out} has a gallery of many files, whose page would be replaced. Nothing was written. Give another folder"
        )
    signer = store.sign_links(asked.seconds, time.time())
    # What the page tells its reader to run: without the paths of this machine.
    renew = CommandLine(pipeline=name).render("gallery", "--presign", asked.text, "--out", "DIR")
    made = make_presigned(project.ledger, store, name, signer, renew, dagster_url=dagster_url, full=full)
    path = _write(out, made.page)
    return WrittenLinks(path, len(made.page), made.clips, made.rows_without_clip, signer)


def links_document(done: WrittenLinks) -> LinksDocument:
    """What was written, for machines."""
    return LinksDocument(
        uri=str(done.path),
        clips=done.clips,
        rows_without_clip=done.rows_without_clip,
        bytes_written=done.size_bytes,
        links_until=_until(done),
        links_seconds=done.signer.seconds,
    )


def describe_links(done: WrittenLinks, asked: Asked) -> str:
    """What was written, for people, and who can see it until when."""
    what = (
        f"{done.path}: {done.clips} clips, {done.rows_without_clip} rows without one, {done.size_bytes / 1e6:.1f} MB."
    )
    until = f"Whoever has this file can see them until {_until(done)}"
    if done.signer.seconds >= asked.seconds:
        return f"{what} {until}."
    if done.signer.seconds == LONGEST_SECONDS:
        return f"{what} {until}: links live seven days at most."
    if done.signer.credentials.until is None:
        why = "the credentials are temporary, and do not say when they end: links may end even before"
    else:
        why = "then the credentials end that signed the links"
    return f"{what} {until}, and not for {asked.text}: {why}."


def _until(done: WrittenLinks) -> str:
    return datetime.fromtimestamp(done.signer.until, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _write(out: Path, page: bytes) -> Path:
    """Write the page in one step, for its owner's eyes: to whom it is given is for the owner to say."""
    out.mkdir(parents=True, exist_ok=True)
    path = out.resolve() / "index.html"
    descriptor, name = tempfile.mkstemp(dir=out, prefix=".index-", suffix=".html")
    new = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(page)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    return path
