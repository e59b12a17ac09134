"""What Dagster keeps of a pipeline has no secret in it: events, their metadata, and errors with all their causes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import dagster as dg
import pytest
from click.testing import CliRunner
from dagster_shared.serdes.serdes import serialize_value  # pyright: ignore[reportMissingTypeStubs]

from pixverse_dagster import CheckRules, LocalClipIOManager, RunwareResource, build_clips_definitions
from pixverse_dagster.cli import cli
from pixverse_dagster.cli.documents import json_option, print_json
from pixverse_dagster.cli.output import print_table
from pixverse_dagster.core.commands import CommandLine
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.secrets import remember_secret
from pixverse_dagster.orchestration.events.clips import check_event, unchecked_event
from pixverse_dagster.orchestration.events.failures import problem_events, raise_failures
from pixverse_dagster.orchestration.events.tasks import ended_event, judge_unknown
from pixverse_dagster.orchestration.resources import LedgerResource
from pixverse_dagster.policy.quality import Finding
from pixverse_dagster.providers.base import TaskRef
from pixverse_dagster_tests.harness.factories import NAME, make_task

KEY = "sk-dagster/Canary+0123456789"
SAID = f"Incorrect API key provided: {KEY}, see https://media.pixverse.ai/canary.mp4"
remember_secret(KEY)


@pytest.fixture
def instance() -> Any:
    with dg.instance_for_test() as made:
        yield made


EVENTS: list[Callable[[dg.DagsterInstance], Any]] = [
    lambda _: ended_event(make_task(state=TaskState.FAILED, reason=SAID, note=SAID), CommandLine()),
    lambda _: ended_event(make_task(), CommandLine(), SAID),
    lambda _: judge_unknown(NAME, [make_task(state=TaskState.UNKNOWN, reason=SAID)], CommandLine()),
    lambda _: unchecked_event(NAME, "kite", SAID),
    lambda instance: check_event(instance, NAME, "kite", [Finding("intact", False, SAID, SAID)], CheckRules()),  # noqa: FBT003
    lambda _: next(problem_events(NAME, "tasks", {"kite": SAID})),
]


@pytest.mark.parametrize("make", EVENTS)
def test_no_event_repeats_a_secret(instance: dg.DagsterInstance, make: Callable[[dg.DagsterInstance], Any]):
    """In its description or anywhere in its metadata, as the event log keeps it."""
    kept = serialize_value(make(instance))
    assert KEY not in kept
    assert json.dumps(KEY)[1:-1].replace("/", "\\/") not in kept
    assert "canary.mp4" not in kept
    assert "…" in kept or "\\u2026" in kept


def test_no_failure_repeats_a_secret():
    """What ends a step names its rows, and what their providers said."""
    with pytest.raises(dg.Failure) as failed:
        raise_failures("failed", [SAID], 1)
    assert KEY not in f"{failed.value!r} {failed.value.description}"


class BrokenTable:
    """A table whose driver quotes the key, below an error of its own."""

    def describe(self) -> str:
        return "a broken table"

    def read(self) -> Any:
        try:
            raise ConnectionError(SAID)  # noqa: TRY301 - stands for a driver
        except ConnectionError as error:
            raise RuntimeError(SAID) from error


@pytest.mark.filterwarnings("ignore:.*dagster_run:DeprecationWarning")  # Dagster meets its own
def test_an_error_in_a_run_is_kept_without_secrets(tmp_path: Path, instance: dg.DagsterInstance):
    """With every cause, whoever raised it; in the event log and in the run's own log."""
    definitions = build_clips_definitions(
        NAME,
        BrokenTable(),
        providers=[RunwareResource(api_key=KEY)],
        clips=LocalClipIOManager(base_dir=str(tmp_path), ledger=LedgerResource()),
    )
    job = definitions.resolve_implicit_global_asset_job_def()
    run = job.execute_in_process(
        instance=instance, raise_on_error=False, asset_selection=[dg.AssetKey([NAME, "prompts"])]
    )
    assert not run.success
    kept = "".join(serialize_value(entry) for entry in instance.all_logs(run.run_id))
    assert "ConnectionError" in kept
    assert KEY not in kept
    assert "canary.mp4" not in kept


def test_an_error_of_a_command_is_printed_without_secrets(tmp_path: Path):
    """Also one that click words itself."""
    done = CliRunner().invoke(cli, ["plan", "--home", str(tmp_path), "-m", f"no_module_{KEY}".replace("/", "_")])
    assert done.exit_code == 2
    remembered = f"no_module_{KEY}".replace("/", "_")
    remember_secret(remembered)
    done = CliRunner().invoke(cli, ["plan", "--home", str(tmp_path), "-m", remembered])
    assert "cannot import …" in done.output


def test_no_secret_is_printed(capsys: pytest.CaptureFixture[str]):
    """As a table, also where a cell is broken into lines, or as JSON."""
    print_table("Tasks", ["row", "reason"], [["kite", SAID + " and so on" * 40]])

    @click.command()
    @json_option(list[dict[str, Any]])
    def command(*, as_json: bool) -> None:
        assert as_json
        print_json([{"row": "kite", "reason": SAID, KEY: 1, "url": "https://media.pixverse.ai/x/canary.mp4"}])

    out = capsys.readouterr().out + CliRunner().invoke(command, ["--json"], catch_exceptions=False).output
    assert '"row": "kite"' in out
    assert KEY not in out
    assert KEY[:12] not in out
    assert "x/canary" not in out


def test_a_key_that_is_written_out_is_in_nothing_that_dagster_keeps_of_the_code(tmp_path: Path, instance: Any):
    """Dagster keeps every resource's values with each run, and shows them: those of the code's own secrets are not."""
    written = "sk-written-out/0123456789+="
    definitions = build_clips_definitions(
        NAME,
        BrokenTable(),
        providers=[RunwareResource(api_key=written, base_url="http://me:pa55w0rd-here@127.0.0.1:9")],
        clips=LocalClipIOManager(base_dir=str(tmp_path), ledger=LedgerResource()),
    )
    job = definitions.resolve_implicit_global_asset_job_def()
    job.execute_in_process(instance=instance, raise_on_error=False, asset_selection=[dg.AssetKey([NAME, "prompts"])])
    shown = serialize_value(job.get_job_snapshot()).replace("\\", "")
    assert "written out, not shown" in shown
    assert written not in shown
    assert "pa55w0rd-here" not in shown
    (resource,) = (one for one in (definitions.resources or {}).values() if isinstance(one, RunwareResource))
    with dg.build_resources({"it": resource}, instance=instance) as built:
        client = built.it.get_client()
        (request,) = [client.provider.poll([TaskRef("t1", 1)])]
        client.close()
    assert written in str(request.headers.multi_items())
