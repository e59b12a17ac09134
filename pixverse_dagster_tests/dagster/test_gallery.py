"""The page of the clips in Dagster: an asset of its own, renewed as clips come, that no clip waits for."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import dagster as dg
import pytest

from pixverse_dagster import LocalClipIOManager, PipelineOptions, RunwareResource, build_clips_definitions
from pixverse_dagster.core.layout import clip_folder
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.orchestration.events.gallery import clip_fragment
from pixverse_dagster.orchestration.gallery import look
from pixverse_dagster.orchestration.resources import LedgerResource
from pixverse_dagster.transport.download import DownloadRules
from pixverse_dagster_tests.harness.factories import NAME, QUICK, RUNWARE, make_row, put_row
from pixverse_dagster_tests.harness.servers import Simulator

pytestmark = pytest.mark.filterwarnings("ignore:.*(run_id|dagster_run) is deprecated:DeprecationWarning")
CLIPS = dg.AssetKey([NAME, "clips"])


class Stage:
    """A pipeline of two rows, and the page of its clips."""

    def __init__(self, folder: Path, server: Simulator, instance: dg.DagsterInstance, **options: Any) -> None:
        self.instance = instance
        self.page = folder / "clips" / NAME / "gallery"
        self.definitions = build_clips_definitions(
            NAME,
            [{"id": row, "prompt": f"a {row}", "resolution": "360p"} for row in ("a/kite", "boat")],
            providers=[RunwareResource(api_key="simulator", base_url=f"{server.url}/runware")],
            clips=LocalClipIOManager(base_dir=str(folder / "clips"), ledger=LedgerResource()),
            options=PipelineOptions(
                defaults={"model": RUNWARE},
                pace=QUICK,
                download=DownloadRules(allow_private_network=True),
                gallery=True,
                **options,
            ),
        )

    def run(self, asset: str, **arguments: Any) -> dg.ExecuteInProcessResult:
        job = self.definitions.resolve_implicit_global_asset_job_def()
        selection = [dg.AssetKey([NAME, asset])]
        return job.execute_in_process(
            instance=self.instance, raise_on_error=False, asset_selection=selection, **arguments
        )

    def tick(self, cursor: str | None) -> tuple[list[str | None], str | None, str]:
        """What the sensor asks for, the cursor that it keeps, and why it asks for nothing."""
        resources: Any = self.definitions.resources
        keys = resources[f"{NAME}_pipeline"].resource_keys
        context = dg.build_sensor_context(
            instance=self.instance,
            resources={key: resources[key] for key in keys},
            definitions=self.definitions,
            cursor=cursor,
        )
        ticked = self.definitions.resolve_sensor_def(f"{NAME}_gallery").evaluate_tick(context)
        return [one.job_name for one in ticked.run_requests or ()], ticked.cursor, ticked.skip_message or ""

    def write(self) -> dg.ExecuteInProcessResult:
        """What the daemon does with what the sensor asked for."""
        job = self.definitions.resolve_job_def(f"{NAME}_gallery")
        return job.execute_in_process(instance=self.instance, raise_on_error=False)


def metadata_of(run: dg.ExecuteInProcessResult, node: str) -> dict[str, Any]:
    (made,) = run.asset_materializations_for_node(node)
    return {name: value.value for name, value in made.metadata.items()}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made


def test_the_page_is_renewed_where_anything_happened_and_only_then(
    server: Simulator, tmp_path: Path, instance: dg.DagsterInstance
):
    """After a reading, and after a clip; what it says of a clip is on the clip's partition too."""
    stage = Stage(tmp_path, server, instance, dagster_url="https://u:pw@dagster.example.org/team/?key=secret")
    assert stage.run("prompts").success
    asked, cursor, _ = stage.tick(None)
    assert asked == [f"{NAME}_gallery"]
    first = metadata_of(stage.write(), f"{NAME}__gallery")
    assert (first["pixverse/clips"], first["pixverse/rows_without_clip"], first["pixverse/unchanged"]) == (0, 2, False)
    assert first["dagster/uri"] == str(stage.page / "index.html")
    assert stage.tick(cursor) == ([], cursor, "nothing has happened since the page was written")

    stored = stage.run("clips", partition_key="a/kite")
    assert stored.success
    (shown,) = [event for event in stored.get_asset_materialization_events() if event.asset_key == CLIPS]
    address = str(shown.materialization.metadata["pixverse/gallery"].value)
    assert address.startswith(f"{(stage.page / 'index.html').as_uri()}#/clip/a%252Fkite/")
    asked, cursor, _ = stage.tick(cursor)
    assert asked == [f"{NAME}_gallery"]
    second = metadata_of(stage.write(), f"{NAME}__gallery")
    assert (second["pixverse/clips"], second["pixverse/rows_without_clip"]) == (1, 1)
    clip = "/".join(map(unquote, urlsplit(address).fragment.removeprefix("/clip/").split("/")))
    index = (stage.page / "data" / "index.js").read_text()
    assert "https://dagster.example.org/team/" in index
    assert [word for word in ("pw@", "secret") if word in index] == []
    assert any(clip in file.read_text() for file in stage.page.glob("data/c-*.js"))
    again = metadata_of(stage.write(), f"{NAME}__gallery")
    assert (again["pixverse/unchanged"], again["pixverse/files_written"]) == (True, 0)


def test_a_page_that_cannot_be_written_holds_up_no_clip(
    server: Simulator, tmp_path: Path, instance: dg.DagsterInstance
):
    """Its run fails by itself, and is asked for again when something happens."""
    stage = Stage(tmp_path, server, instance, gallery_url="https://u:pw@clips.example.org/films/?key=secret")
    stage.page.parent.mkdir(parents=True)
    stage.page.write_text("a file in the place of its folder")
    assert stage.run("prompts").success
    _, cursor, _ = stage.tick(None)
    assert not stage.write().success
    stored = stage.run("clips", partition_key="boat")
    assert stored.success
    (shown,) = [event for event in stored.get_asset_materialization_events() if event.asset_key == CLIPS]
    address = shown.materialization.metadata["pixverse/gallery"]
    assert isinstance(address, dg.UrlMetadataValue)
    assert str(address.value).startswith("https://clips.example.org/films/#/clip/boat/")
    assert stage.tick(cursor)[0] == [f"{NAME}_gallery"]
    stage.page.unlink()
    written = metadata_of(stage.write(), f"{NAME}__gallery")
    assert (written["pixverse/clips"], written["pixverse/gallery"]) == (1, "https://clips.example.org/films/")


def test_without_the_option_there_is_no_page(server: Simulator, tmp_path: Path):
    """No asset, no job, no sensor."""
    made = build_clips_definitions(
        NAME, [], providers=[], clips=LocalClipIOManager(base_dir=str(tmp_path), ledger=LedgerResource())
    )
    assert not [spec.key for spec in made.resolve_all_asset_specs() if spec.key.path[-1] == "gallery"]
    assert not [sensor.name for sensor in made.sensors or () if sensor.name.endswith("_gallery")]


def test_what_happens_to_other_pipelines_renews_no_page(ledger: Ledger):
    """The history is the ledger's, the page a pipeline's. A cursor of another form counts as none."""
    put_row(ledger, make_row())
    cursor = look(ledger, NAME, None)
    put_row(ledger, make_row("boat"), "reels")
    assert look(ledger, NAME, cursor) == cursor
    put_row(ledger, make_row("boat"))
    assert look(ledger, NAME, cursor) != cursor
    assert look(ledger, NAME, "of another form") == look(ledger, NAME, None)


def test_a_clips_address_is_its_id_encoded_as_the_page_reads_it():
    """Each part once more, as it stands in the store's keys already encoded."""
    folder = clip_folder(NAME, "a b/ü'#1", "0123456789abcdef", 2, 3)
    assert clip_fragment(folder, 4) == "#/clip/a%2520b%252F%25C3%25BC%2527%25231/0123456789ab-t2-a3/4"
