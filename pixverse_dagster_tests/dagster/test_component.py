"""A pipeline in YAML, in Python, several side by side, and what reads or submits its table by itself."""

import csv
import re
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest
from dagster.components.testing import create_defs_folder_sandbox

from pixverse_dagster import (
    Clip,
    InvalidTable,
    LedgerResource,
    LocalClipIOManager,
    NotSent,
    PipelineOptions,
    PixverseClipsComponent,
    RunwareResource,
    build_clips_definitions,
)
from pixverse_dagster.ledger.engine import sqlite_url
from pixverse_dagster.ledger.ledger import open_ledger
from pixverse_dagster.orchestration.component import PromptSource
from pixverse_dagster.orchestration.resources import default_ledger_url
from pixverse_dagster_tests.harness.servers import Simulator

# Dagster marks much of what it does here itself as beta.
pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster._utils.warnings.BetaWarning"),
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20"),
    pytest.mark.filterwarnings("ignore:InitResourceContext.dagster_run:DeprecationWarning"),
]

OPERATING = Path(__file__).parents[2] / "docs" / "operating.md"
BERLIN = {"read_time_zone": "Europe/Berlin"}
QUICK: dict[str, Any] = {"first_poll_seconds": 0.05, "max_poll_seconds": 0.1, "collect_after_seconds": 0}
ROWS = [
    {"id": f"r{n}", "model": "runware/pixverse-v4.5", "prompt": f"kite {n}", "resolution": "360p"} for n in range(3)
]


def write_rows(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return path


@contextmanager
def sandbox(
    attributes: dict[str, Any], files: dict[str, list[dict[str, str]]], **more: Any
) -> Generator[dg.Definitions]:
    """The definitions of a project with one component of these attributes."""
    with create_defs_folder_sandbox() as project:
        folder = project.scaffold_component(PixverseClipsComponent, defs_path="trailers")
        (folder / "defs.yaml").write_text(
            yaml.safe_dump({"type": "pixverse_dagster.PixverseClipsComponent", "attributes": attributes, **more})
        )
        for name, rows in files.items():
            write_rows(folder / name, rows)
        with project.build_all_defs() as definitions:
            yield definitions


def ephemeral(folder: Path) -> dg.DagsterInstance:
    """An instance of this test's own."""
    make: Any = dg.DagsterInstance.ephemeral  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return make(str(folder))


def keys_of(definitions: dg.Definitions) -> set[str]:
    return {spec.key.to_user_string() for spec in definitions.resolve_all_asset_specs()}


def names_of(definitions: dg.Definitions) -> set[str]:
    repository = definitions.get_repository_def()
    return {one.name for one in (*repository.sensor_defs, *repository.schedule_defs)}


def test_what_the_scaffolder_writes_works_at_once() -> None:
    """The folder of `dg scaffold defs` loads without any key: the sample table, the simulator, a local store."""
    with create_defs_folder_sandbox() as project:
        folder = project.scaffold_component(PixverseClipsComponent, defs_path="trailers")
        assert sorted(path.name for path in folder.iterdir()) == ["defs.yaml", "prompts.csv"]
        with project.load_component_and_build_defs(folder) as (component, definitions):
            assert isinstance(component, PixverseClipsComponent)
            assert component.simulator == "http://127.0.0.1:8765"
            assert keys_of(definitions) == {"trailers/prompts", "trailers/tasks", "trailers/clips"}
            assert names_of(definitions) == {"trailers_poll", "trailers_continue", "trailers_submit_new"}


def test_a_component_runs_end_to_end(server: Simulator, tmp_path: Path) -> None:
    """From YAML to stored clips, in the project's own folder, whatever the rows are called."""
    ids = ["sc01/sh020", 'a, "b"\\c', "-[*] <script>?#&;|%2F"]
    rows = [row | {"id": row_id} for row, row_id in zip(ROWS, ids, strict=True)]
    attributes = {
        "name": "trailers",
        "prompts": {"path": "rows.csv"},
        "simulator": server.url,
        "store": {"local": {"base_dir": str(tmp_path / "clips")}},
        "providers": {"runware": {"max_open_tasks": 2}},
        "options": {"pace": QUICK, "budget": {"total_usd": 5}},
    }
    with (
        sandbox(attributes, {"rows.csv": rows}) as definitions,
        ephemeral(tmp_path) as instance,
    ):
        job = definitions.resolve_implicit_global_asset_job_def()
        assert job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey(["trailers", "prompts"])]).success
        tags = {"dagster/asset_partition_range_start": ids[0], "dagster/asset_partition_range_end": ids[-1]}
        clips = dg.AssetKey(["trailers", "clips"])
        assert job.execute_in_process(instance=instance, asset_selection=[clips], tags=tags).success
        assert instance.get_materialized_partitions(clips) == set(ids)
    assert len(server.tasks()) == 3
    assert len(list((tmp_path / "clips").rglob("manifest.json"))) == 3


def test_the_page_of_the_clips_and_their_marks_are_asked_for_in_the_yaml() -> None:
    """Beside the table, or among the options; a file of marks is beside the YAML, too."""
    attributes = {"name": "trailers", "prompts": {"path": "rows.csv"}, "simulator": "http://127.0.0.1:1"}
    attributes |= {"store": {"local": {"base_dir": "clips"}}}
    asked: dict[str, Any] = {"gallery": True, "marks": "picks.csv"}
    for more in (asked, {"options": asked}, asked | {"options": {"gallery": False}}):
        with sandbox(attributes | more, {"rows.csv": ROWS}) as definitions:
            assert "trailers/gallery" in keys_of(definitions)
            assert "trailers_gallery" in names_of(definitions)
            options = (definitions.resources or {})["trailers_pipeline"].pipeline.options
            assert Path(options.marks).name == "picks.csv"
            assert Path(options.marks).parent.name == "trailers"


def test_conditions_owners_and_tags_may_be_given_in_the_yaml_by_dagsters_own_means() -> None:
    """What the page of operating shows: the prompts are read again every morning, and the team is named."""
    attributes = {"name": "trailers", "prompts": {"path": "rows.csv"}, "simulator": "http://127.0.0.1:1"}
    attributes |= {"store": {"local": {"base_dir": "clips"}}}
    (shown,) = re.findall(r"```yaml\n(post_processing:.*?)```", OPERATING.read_text(), re.DOTALL)
    with sandbox(attributes, {"rows.csv": ROWS}, **yaml.safe_load(shown)) as definitions:
        specs: dict[str, Any] = {spec.key.path[-1]: spec for spec in definitions.resolve_all_asset_specs()}
    assert {tuple(spec.owners) for spec in specs.values()} == {("team:media",)}
    condition: Any = dg.AutomationCondition.on_cron("0 6 * * *")
    assert specs["prompts"].automation_condition == condition
    assert specs["clips"].automation_condition is None


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"prompts": {"path": "rows.csv", "asset": "a/b"}}, "exactly one of path, sql, asset and function"),
        ({"prompts": {}}, "exactly one of path, sql, asset and function"),
        ({"store": {}}, "exactly one of local and s3"),
        ({"options": {"retries": {"lost": 1}}}, "retries"),
        ({"options": {"pace": {"first_poll_seconds": -1}}}, "first_poll_seconds"),
        ({"providers": {"sora": {}}}, "sora"),
        ({"providers": {"runware": {"max_open_tasks": 0}}}, "max_open_tasks"),
        ({"name": "two words"}, "use letters, digits and '_'"),
        ({"prompts": {"sql": {"url_variable": "NO_SUCH_URL", "query": "select 1"}}}, "NO_SUCH_URL is not set"),
        ({"options": {"watch_table": True}, "prompts": {"asset": "a/b"}}, "asset a/b cannot be watched"),
    ],
)
def test_a_mistake_in_the_yaml_is_named_when_it_is_loaded(changed: dict[str, Any], complaint: str) -> None:
    """Before anything runs."""
    attributes = {"name": "trailers", "prompts": {"path": "rows.csv"}, "simulator": "http://127.0.0.1:1"}
    attributes |= {"store": {"local": {"base_dir": "clips"}}, **changed}
    with pytest.raises(Exception) as caught, sandbox(attributes, {"rows.csv": ROWS}) as definitions:  # noqa: PT011
        keys_of(definitions)
    told = [str(caught.value)]
    cause: BaseException | None = caught.value
    while cause is not None:
        told.append(str(cause))
        cause = cause.__cause__ or cause.__context__
    assert any(complaint in text for text in told), told


def build(name: str, prompts: Any, url: str, folder: Path, **options: Any) -> dg.Definitions:
    """A pipeline on one Runware account."""
    return build_clips_definitions(
        name,
        prompts,
        providers=[RunwareResource(api_key="simulator", base_url=f"{url}/runware")],
        clips=LocalClipIOManager(
            base_dir=str(folder / "clips"), ledger=LedgerResource(url=sqlite_url(folder / "ledger.db"))
        ),
        options=PipelineOptions.model_validate({"pace": QUICK, "download": {"allow_private_network": True}, **options}),
    )


def test_a_provider_that_is_not_there_is_named_with_those_that_are() -> None:
    """Also where the component is made in Python, before any table is read."""
    with pytest.raises(ValueError, match="'sora' is no provider; there are highway, runware, pixwith"):
        PixverseClipsComponent(
            name="films",
            prompts=PromptSource(path="rows.csv"),
            providers={"sora": None},
            store={"local": {"base_dir": "clips"}},
        )


def test_several_pipelines_stand_side_by_side(server: Simulator, tmp_path: Path) -> None:
    """Their definitions merge, whatever they share; each has its own resources, jobs and sensors."""
    both = dg.Definitions.merge(*(build(name, ROWS, server.url, tmp_path) for name in ("trailers", "teasers")))
    assert {key.split("/")[0] for key in keys_of(both)} == {"trailers", "teasers"}
    with ephemeral(tmp_path) as instance:
        job = both.resolve_implicit_global_asset_job_def()
        for name in ("trailers", "teasers"):
            selection = [dg.AssetKey([name, "prompts"])]
            assert job.execute_in_process(instance=instance, asset_selection=selection).success
        assert instance.get_dynamic_partitions("teasers_rows") == ["r0", "r1", "r2"]


class Dressed(PixverseClipsComponent):
    """A team's own way of showing its assets."""

    def get_asset_spec(self, spec: dg.AssetSpec) -> dg.AssetSpec:
        return spec.replace_attributes(owners=["team:media"])  # pyright: ignore[reportUnknownMemberType]


def test_the_value_of_an_asset_is_a_table_and_a_component_may_dress_its_assets(tmp_path: Path) -> None:
    """Rows from upstream become partitions; `get_asset_spec` adds what a team wants to see."""

    @dg.asset
    def scripts() -> list[dict[str, str]]:
        return ROWS

    pipeline = build("films", scripts, "http://127.0.0.1:1", tmp_path)
    definitions = dg.Definitions.merge(dg.Definitions(assets=[scripts]), pipeline)
    with ephemeral(tmp_path) as instance:
        job = definitions.resolve_implicit_global_asset_job_def()
        assert job.execute_in_process(
            instance=instance, asset_selection=[scripts.key, dg.AssetKey(["films", "prompts"])]
        ).success
        assert instance.get_dynamic_partitions("films_rows") == ["r0", "r1", "r2"]
    with create_defs_folder_sandbox() as project:
        folder = project.scaffold_component(Dressed, defs_path="films")
        with project.load_component_and_build_defs(folder) as (_, defs):
            assert {tuple(spec.owners) for spec in defs.resolve_all_asset_specs()} == {("team:media",)}


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with ephemeral(tmp_path) as made:
        yield made


def tick(definitions: dg.Definitions, name: str, instance: dg.DagsterInstance, cursor: str | None = None) -> Any:
    """One evaluation of a sensor."""
    sensor = definitions.resolve_sensor_def(name)
    wanted = {
        key: value for key, value in (definitions.resources or {}).items() if key in sensor.required_resource_keys
    }
    with dg.build_sensor_context(
        instance=instance, cursor=cursor, resources=wanted, definitions=definitions
    ) as context:
        return sensor.evaluate_tick(context)


def test_new_rows_are_asked_for_within_the_budget_and_only_once(
    server: Simulator, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    """The submit sensor, off by default, queues new rows; the continuing one asks for a run."""
    definitions = build("films", ROWS, server.url, tmp_path, budget={"total_usd": 0.25})
    job = definitions.resolve_implicit_global_asset_job_def()
    job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey(["films", "prompts"])])
    sensor = definitions.resolve_sensor_def("films_submit_new")
    assert sensor.default_status is dg.DefaultSensorStatus.STOPPED
    asked = tick(definitions, "films_submit_new", instance)
    assert asked.skip_message == (
        "2 new rows asked for, about 0.224 USD; 1 left: the next costs about 0.112 USD, and 0.026 USD are left of the "
        "budget"
    )
    assert "0 new rows asked for" in tick(definitions, "films_submit_new", instance).skip_message
    (request,) = tick(definitions, "films_continue", instance).run_requests
    assert request.run_config["ops"]["films_submit_rows"]["config"]["rows"] == ["r0", "r1"]
    assert not tick(definitions, "films_continue", instance).run_requests
    assert not server.tasks(), "asking costs nothing"
    ran = definitions.resolve_job_def("films_submit").execute_in_process(
        instance=instance, run_config=request.run_config
    )
    assert ran.success
    assert len(server.tasks()) == 2
    ledger = open_ledger(sqlite_url(tmp_path / "ledger.db"))
    assert ledger.rows.unsubmitted("films", 10) == ["r2"]


def test_a_changed_table_is_read_again(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    """Once for each change, and when two ticks saw the same; a table that is not there is said to be so.

    The table of marks is watched with it.
    """
    path, marks = write_rows(tmp_path / "rows.csv", ROWS), tmp_path / "picks.csv"
    options: dict[str, Any] = {"watch_table": True, "read_cron": "0 6 * * *", "marks": str(marks), **BERLIN}
    definitions = build("films", path, "http://127.0.0.1:1", tmp_path, **options)
    assert definitions.resolve_schedule_def("films_read").execution_timezone == "Europe/Berlin"
    with pytest.raises(InvalidTable, match="there is no such time zone"):
        build("films", path, "http://127.0.0.1:1", tmp_path, read_cron="0 6 * * *", read_time_zone="CEST+1")
    assert names_of(definitions) >= {"films_table", "films_read"}
    first = tick(definitions, "films_table", instance)
    assert "is read if it is still the same at the next look" in first.skip_message
    second = tick(definitions, "films_table", instance, first.cursor)
    assert [request.asset_selection for request in second.run_requests] == [[dg.AssetKey(["films", "prompts"])]]
    same = tick(definitions, "films_table", instance, second.cursor)
    assert "is as it was" in same.skip_message
    marks.write_text("clip,mark\n")
    marked = tick(definitions, "films_table", instance, same.cursor)
    changed = tick(definitions, "films_table", instance, marked.cursor)
    assert (len(marked.run_requests), len(changed.run_requests)) == (0, 1)
    for number in (1, 2):
        write_rows(path, ROWS[:number])
        changed = tick(definitions, "films_table", instance, changed.cursor)
        assert not changed.run_requests, "it may not be written to its end"
    changed = tick(definitions, "films_table", instance, changed.cursor)
    assert len(changed.run_requests) == 1
    path.unlink()
    assert "is not there" in tick(definitions, "films_table", instance, changed.cursor).skip_message
    with pytest.raises(InvalidTable, match="cannot be watched"):
        build("films", ROWS, "http://127.0.0.1:1", tmp_path, watch_table=True)


def test_an_asset_downstream_of_clips_is_requested_when_its_clip_lands(
    server: Simulator, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    """Dagster's own automation works on the events of clips, row by row."""
    pipeline = build("films", ROWS, server.url, tmp_path)
    rows = dg.DynamicPartitionsDefinition(name="films_rows")

    @dg.asset(
        deps=[dg.AssetKey(["films", "clips"])],
        partitions_def=rows,
        automation_condition=dg.AutomationCondition.eager(),
    )
    def thumbnail() -> None: ...

    definitions = dg.Definitions.merge(pipeline, dg.Definitions(assets=[thumbnail]))
    job = definitions.resolve_implicit_global_asset_job_def()
    job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey(["films", "prompts"])])
    before = dg.evaluate_automation_conditions(definitions, instance)
    assert before.total_requested == 0
    ran = job.execute_in_process(
        instance=instance, asset_selection=[dg.AssetKey(["films", "clips"])], partition_key="r1"
    )
    assert ran.success
    after = dg.evaluate_automation_conditions(definitions, instance, cursor=before.cursor)
    assert after.get_requested_partitions(thumbnail.key) == {"r1"}


@pytest.mark.parametrize("home", ["ephemeral", ".tmp_dagster_home_x1"])
def test_no_money_is_spent_on_a_ledger_that_will_be_deleted(tmp_path: Path, home: str) -> None:
    """`dagster dev` without DAGSTER_HOME: its storage goes in the end, and with it who was paid for what."""
    folder = tmp_path / home
    folder.mkdir()
    live = build_clips_definitions(
        "films",
        ROWS,
        providers=[RunwareResource(api_key="a-key", base_url="http://provider.invalid")],
        clips=LocalClipIOManager(base_dir=str(tmp_path / "clips"), ledger=LedgerResource()),
    )
    with ephemeral(folder) if home == "ephemeral" else dg.DagsterInstance.from_config(str(folder)) as instance:
        dagster = Freshness(live, instance)
        dagster.run("prompts")
        with pytest.raises(NotSent, match=r"Nothing was sent\. Set DAGSTER_HOME to a directory that stays"):
            dagster.run("tasks", row="r0")
        assert not open_ledger(default_ledger_url(instance)).tasks.find("films")


@pytest.mark.parametrize("keep", [True, False])
def test_a_row_that_left_the_table_stays_a_partition_unless_the_options_say_otherwise(
    server: Simulator, tmp_path: Path, instance: dg.DagsterInstance, *, keep: bool
) -> None:
    """Either way nothing is forgotten: a task under way keeps its partition, and a row that comes back its clip."""
    table = write_rows(tmp_path / "rows.csv", ROWS)
    dagster = Freshness(build("films", table, server.url, tmp_path, keep_removed_partitions=keep), instance)
    dagster.run("prompts")
    dagster.run("tasks", "clips", row="r0")
    dagster.run("tasks", row="r1")
    write_rows(table, [ROWS[2] | {"resolution": "4k"}])
    dagster.run("prompts")
    left = ["r0", "r1", "r2"] if keep else ["r1", "r2"]
    assert instance.get_dynamic_partitions("films_rows") == left, "r1 is under way, r2 is invalid and in the table"
    table.write_text("prompt;campaign\na kite;spring\n")
    with pytest.raises(InvalidTable, match="has no column 'id'"):
        dagster.run("prompts")
    assert instance.get_dynamic_partitions("films_rows") == left, "a table without ids is none"
    write_rows(table, ROWS)
    dagster.run("prompts")
    assert set(instance.get_dynamic_partitions("films_rows")) == {"r0", "r1", "r2"}
    assert dagster.of("r0") == ("FRESH", "FRESH")
    assert len(server.tasks()) == 2


class Freshness:
    """Dagster's own verdict on the rows of a pipeline called films."""

    def __init__(self, definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
        self._definitions, self._instance = definitions, instance
        self._job = definitions.resolve_implicit_global_asset_job_def()

    def run(self, *parts: str | dg.AssetKey, row: str | None = None) -> None:
        """Materialise these assets, of one row or of none."""
        keys = [dg.AssetKey(["films", part]) if isinstance(part, str) else part for part in parts]
        assert self._job.execute_in_process(instance=self._instance, asset_selection=keys, partition_key=row).success

    def of(self, row: str) -> tuple[str, str]:
        """Of the row's task and its clip."""
        graph = self._definitions.resolve_asset_graph()
        resolver = CachingStaleStatusResolver(self._instance, graph, LoadingContextForTest(self._instance))
        task, clip = (resolver.get_status(dg.AssetKey(["films", part]), row).value for part in ("tasks", "clips"))
        return task, clip


def test_clips_of_a_table_of_one_row_are_still_a_dict(
    server: Simulator, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    """What a downstream asset gets is decided by its annotation, and not by how long the table is today."""
    rows = dg.AllPartitionMapping()
    taken: dict[str, type] = {}

    @dg.asset(ins={"clips": dg.AssetIn(["films", "clips"], partition_mapping=rows)})
    def reel(clips: dict[str, Clip]) -> None:
        taken.update({row: type(clip) for row, clip in clips.items()})

    pipeline = build("films", ROWS[:1], server.url, tmp_path)
    dagster = Freshness(dg.Definitions.merge(pipeline, dg.Definitions(assets=[reel])), instance)
    dagster.run("prompts")
    dagster.run("clips", row="r0")
    dagster.run(reel.key)
    assert taken == {"r0": Clip}


def test_reading_the_table_again_makes_no_row_out_of_date(
    server: Simulator, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    """Dagster's own staleness: a stored row stays up to date whatever else changes; one without a clip is missing."""
    dagster = Freshness(build("films", ROWS, server.url, tmp_path), instance)
    dagster.run("prompts")
    dagster.run("tasks", "clips", row="r0")
    dagster.run("prompts")
    assert dagster.of("r0") == ("FRESH", "FRESH")
    assert dagster.of("r1") == ("MISSING", "MISSING")


def test_of_a_changed_row_the_task_is_out_of_date_then_the_clip_and_no_other_row(
    server: Simulator, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    """A change goes down the graph as Dagster would have it, and a row that is again what it was costs nothing."""
    table = write_rows(tmp_path / "rows.csv", ROWS)
    dagster = Freshness(build("films", table, server.url, tmp_path), instance)
    dagster.run("prompts")
    for row in ("r0", "r1"):
        dagster.run("tasks", "clips", row=row)
    write_rows(table, [ROWS[0] | {"prompt": "the kite falls"}, *ROWS[1:]])
    dagster.run("prompts")
    assert dagster.of("r0") == ("STALE", "FRESH"), "its clip is that of the only task there is"
    assert dagster.of("r1") == ("FRESH", "FRESH")
    (event,) = instance.fetch_materializations(
        dg.AssetRecordsFilter(dg.AssetKey(["films", "tasks"]), asset_partitions=["r0"]), limit=1
    ).records
    assert event.asset_materialization
    assert event.asset_materialization.description == (
        "row 'r0' is out of date: its prompt changed since this task was submitted"
    )
    dagster.run("tasks", row="r0")
    assert dagster.of("r0") == ("FRESH", "STALE")
    dagster.run("clips", row="r0")
    assert dagster.of("r0") == ("FRESH", "FRESH")
    write_rows(table, ROWS)
    dagster.run("prompts")
    assert dagster.of("r0") == ("FRESH", "STALE"), "the task of the old words stands again, the clip is of the new"
    dagster.run("clips", row="r0")
    assert dagster.of("r0") == ("FRESH", "FRESH")
    assert len(server.tasks()) == 3
    write_rows(table, ROWS[1:])
    dagster.run("prompts")
    write_rows(table, [ROWS[0] | {"prompt": "the kite rests"}, ROWS[1] | {"prompt": "and the other"}, ROWS[2]])
    dagster.run("prompts")
    assert (dagster.of("r0"), dagster.of("r1")) == (("STALE", "FRESH"), ("STALE", "FRESH")), "also one that was away"


BASE: dict[str, Any] = {
    "name": "films",
    "prompts": {"path": "rows.csv"},
    "store": {"local": {"base_dir": "clips"}},
}
TEMPLATES: dict[str, Any] = {
    "options": {
        "defaults": {"negative_prompt": "{{ env.NEG }}", "style": "{{ env('STYLE') }}"},
        "budget": {"total_usd": "{{ env.LIMIT }}"},
        "labels": ["{{ env.LABEL }}"],
        "columns": {"prompt": "{{ env.COLUMN }} text"},
    },
    "providers": {"runware": {"max_open_tasks": "{{ env.OPEN }}", "api_key": "{{ env.MY_KEY }}"}},
    "ledger_url": "{{ env.MY_LEDGER }}",
}


def test_templates_are_resolved_and_then_validated(monkeypatch: pytest.MonkeyPatch) -> None:
    """In options and accounts as elsewhere; a name that is a number stays a name, and a key stays in its variable."""
    for name, value in {
        "NEG": "123",
        "STYLE": "clay",
        "LIMIT": "4.5",
        "LABEL": "7",
        "COLUMN": "My",
        "OPEN": "3",
    }.items():
        monkeypatch.setenv(name, value)
    with sandbox(BASE | TEMPLATES, {"rows.csv": ROWS}) as definitions:
        found = definitions.resources or {}
        options: PipelineOptions = found["films_pipeline"].pipeline.options
        assert options.defaults == {"negative_prompt": "123", "style": "clay"}
        assert (options.budget.total_usd, list(options.labels), options.columns) == (4.5, ["7"], {"prompt": "My text"})
        assert found["films_runware"].max_open_tasks == 3
        assert found["films_runware"].api_key.env_var_name == "MY_KEY"
        assert found["films_ledger"].url.env_var_name == "MY_LEDGER"


def table_of(prompts: dict[str, Any]) -> Any:
    """The table of a component with these attributes."""
    with sandbox(BASE | {"prompts": prompts}, {"rows.csv": ROWS}) as definitions:
        return (definitions.resources or {})["films_pipeline"].pipeline.table


def test_where_the_rows_are_may_stand_in_a_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A database's URL, or a part of it, and a path: its text, of which no password is shown."""
    for name, value in {"DB": str(tmp_path / "t.db"), "PW": "12345", "FILE": "7"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DB_URL", f"sqlite:///{tmp_path}/t.db")
    with closing(sqlite3.connect(tmp_path / "t.db")) as database, database:
        database.execute("CREATE TABLE t (id, prompt)")
        database.execute("INSERT INTO t VALUES ('a', 'kite')")
    query = "SELECT * FROM t"
    for sql in ({"url": "{{ env.DB_URL }}"}, {"url": "sqlite:///{{ env.DB }}"}, {"url_variable": "DB_URL"}):
        assert [row.cells for row in table_of({"sql": sql | {"query": query}}).read()] == [
            {"id": "a", "prompt": "kite"}
        ]
    hidden = table_of({"sql": {"url": "postgresql://u:{{ env.PW }}@127.0.0.1:1/films", "query": query}})
    with pytest.raises(InvalidTable, match="OperationalError") as refused:
        list(hidden.read())
    assert "12345" not in f"{hidden!r} {refused.value}"
    assert Path(table_of({"path": "{{ env.FILE }}"}).describe()).name == "7"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"prompts": {"path": "{{ env.NO_SUCH }}.csv"}}, "the environment variable NO_SUCH is not set"),
    (
        {"prompts": {"sql": {"url": "{{ env.NO_SUCH }}", "query": "select 1"}}},
        "the environment variable NO_SUCH is not set",
    ),
    ({"prompts": {"sql": {"query": "select 1"}}}, "either url"),
    ({"options": {"budget": {"total_usd": "{{ env.NO_SUCH }}"}}}, "the environment variable NO_SUCH is not set"),
    ({"options": {"budget": {"total_usd": "{{ env.WORD }}"}}}, "budget.total_usd"),
    ({"options": {"defaults": {"prompt": "{{ env.WORD }"}}}, "has a template that is not resolved"),
    ({"options": {"defaults": {"aspect_ratio": 969}}}, "without quotes, YAML reads 16:9"),
    ({"providers": {"runware": {"api_key": "s3cret"}}}, "a key does not stand in a file"),
    ({"store": {"local": {"base_dir": "{{ env.NO_SUCH }}"}}}, "the environment variable NO_SUCH is not set"),
    ({"options": {"columns": {"promt": "x"}}}, "did you mean 'prompt'?"),
]


@pytest.mark.parametrize(("changed", "complaint"), WRONG, ids=[words for _, words in WRONG])
def test_a_template_or_a_value_that_cannot_be_meant_is_named_when_it_is_loaded(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], complaint: str
) -> None:
    """Nothing of it would be sent to a provider as it stands there."""
    monkeypatch.setenv("WORD", "kite")
    with pytest.raises(Exception) as caught, sandbox(BASE | changed, {"rows.csv": ROWS}) as made:  # noqa: PT011
        keys_of(made)
    error, told = caught.value, list[str]()
    while error is not None:
        told.append(str(error))
        error = error.__cause__ or error.__context__
    assert any(complaint in text for text in told), told


def test_the_schema_of_the_yaml_has_every_option_and_takes_templates() -> None:
    """For editors: what a field is, and that a template may stand there."""
    model = PixverseClipsComponent.get_model_cls()
    assert model is not None
    schema = model.model_json_schema()["properties"]["options"]["anyOf"][0]
    assert set(schema["properties"]) == set(PipelineOptions.model_fields)
    cost = schema["properties"]["budget"]["anyOf"][0]["properties"]["total_usd"]
    assert {"type": "string", "pattern": r"\{\{.*\}\}"} in cost["anyOf"]
