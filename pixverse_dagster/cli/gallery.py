"""`gallery`: writes the page of the clips."""

import os
from pathlib import Path
from urllib.parse import quote

import click

from pixverse_dagster.cli.documents import Document, json_option, print_json
from pixverse_dagster.cli.links import Asked, LinksDocument, describe_links, links_document, read_time, write_links
from pixverse_dagster.cli.project import Project, ProjectChoice, project_options
from pixverse_dagster.core.layout import pipeline_prefix
from pixverse_dagster.reports.gallery.writer import GalleryOptions, WrittenGallery, write_gallery
from pixverse_dagster.storage.local_pages import LocalPages


class GalleryDocument(Document):
    """Where the page is, what it shows, and what was written."""

    uri: str
    revision: str
    clips: int
    rows_without_clip: int
    unchanged: bool
    files_written: int
    bytes_written: int


@click.command()
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder to write to; <name>/gallery/ in the store, if not given.",
)
@click.option(
    "--presign",
    callback=read_time,
    metavar="TIME",
    help="Write one file whose clips and pictures are signed links to the bucket; whoever has it can see them for so "
    "long: 7d at most, 12h, 30m.",
)
@click.option("--dagster-url", metavar="URL", help="Where Dagster's pages are: clips then link to their runs.")
@click.option("--full", is_flag=True, help="Read every clip again, and put what is missing in the gallery.")
@project_options
@json_option(GalleryDocument | LinksDocument)
def gallery(
    choice: ProjectChoice,
    *,
    out: Path | None,
    presign: Asked | None,
    dagster_url: str | None,
    full: bool,
    as_json: bool,
) -> None:
    """Write the web page of the clips, or what is new in it: it needs no server, and opens by a double click.

    It stands beside the clips in the store, and shows them from there. Nothing is written where nothing changed. No
    clip is touched, and nothing is paid for.
    """
    with choice.open() as project:
        dagster_url = dagster_url or project.spec.pipeline.options.dagster_url
        if presign is not None:
            links = write_links(project, out, presign, dagster_url, full=full)
            if as_json:
                print_json(links_document(links))
            else:
                click.echo(describe_links(links, presign))
            return
        options = GalleryOptions(dagster_url, _way_back(project, out) if out else "../")
        pages = LocalPages(out.resolve(), None) if out else None
        done = write_gallery(project.ledger, project.store, project.name, options, pages=pages, full=full)
    if as_json:
        print_json(_document(done))
    else:
        click.echo(_describe(done))


def _way_back(project: Project, out: Path) -> str:
    """The relative address of the pipeline's clips, from a folder elsewhere. Raises UsageError if there is none."""
    prefix = pipeline_prefix(project.name)
    folder = Path(project.store.uri(prefix))
    if not folder.is_absolute():
        raise click.UsageError(
            f"a page in {out} cannot show clips that are in {project.store.uri(prefix)}: leave --out away, and the "
            "gallery is written beside them"
        )
    way = os.path.relpath(folder, out.resolve())
    return "/".join(quote(part, safe="") for part in Path(way).parts) + "/"


def _document(done: WrittenGallery) -> GalleryDocument:
    return GalleryDocument(
        uri=done.uri,
        revision=done.revision,
        clips=done.clips,
        rows_without_clip=done.rows_without_clip,
        unchanged=done.unchanged,
        files_written=len(done.written),
        bytes_written=done.bytes_written,
    )


def _describe(done: WrittenGallery) -> str:
    what = f"{done.clips} clips, {done.rows_without_clip} rows without one"
    if done.unchanged:
        return f"{done.uri}: {what}. Nothing changed, and nothing was written."
    return f"{done.uri}: {what}. {len(done.written)} files written, {done.bytes_written / 1e6:.1f} MB."
