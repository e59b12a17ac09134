"""A person at Dagster's own pages: the real webserver, daemon and backfills, seen and clicked with Chromium."""

import csv
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import dagster as dg
import pytest
from playwright.sync_api import expect

from pixverse_dagster_tests.harness.browser import EXAMPLE, RUN_SECONDS, Browser, open_browser
from pixverse_dagster_tests.harness.commands import PACE, wait_until
from pixverse_dagster_tests.harness.fixtures import Tell, require
from pixverse_dagster_tests.harness.servers import Simulator, StartSimulator
from pixverse_dagster_tests.harness.webserver import Started, open_dagster

PROMPTS = (
    "A red kite over a windy beach",
    "A fox crosses fresh snow at dawn",
    "Rain on a tin roof, seen from above",
    "A market street wakes up, time-lapse",
    "A paper boat sails down a gutter",
    "Two swans on a misty lake",
    "A lighthouse at night, slow orbit",
    "Steam over a bowl of noodles",
)
# The project's own definitions, with a reel downstream of them.
REEL = ("-f", str(EXAMPLE / "reel.py"), "-d", str(EXAMPLE))
SHOT = "sc01/sh004 [a, \"b\"] 'c' #1"
"""One row is called as film people call a shot, and worse: every page knows it by that."""
IDS = [SHOT if n == 4 else f"r{n:03}" for n in range(len(PROMPTS))]
SCATTERED = ("r001", SHOT, "r006")


@dataclass(frozen=True)
class Scene:
    """A pipeline on a home of its own, and the person in front of it."""

    home: Path
    table: Path
    environment: dict[str, str]
    simulator: Simulator
    dagster: Started
    browser: Browser
    tell: Tell

    def launch_backfill(self) -> None:
        """The dialog's button, and a daemon that looks at once."""
        launched = self.browser.button("Launch backfill")
        launched.click()
        expect(launched).to_have_count(0)
        self.dagster.start_daemon()

    def add_rows(self, *rows: tuple[str, str, str]) -> None:
        """Write at the end of the prompt table: id, prompt, resolution."""
        with self.table.open("a", newline="") as file:
            csv.writer(file).writerows((row, "runware/pixverse-v4.5", prompt, size) for row, prompt, size in rows)

    def has_read_the_table(self) -> bool:
        """Whether Dagster knows `prompts` as materialised."""
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            return instance.get_latest_materialization_event(dg.AssetKey(["demo", "prompts"])) is not None

    def stored(self) -> set[str]:
        """The partitions of `clips` that Dagster knows as materialised."""
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            return instance.get_materialized_partitions(dg.AssetKey(["demo", "clips"]))

    def failed_checks(self) -> set[str]:
        """The partitions whose clip fails its check."""
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            key = dg.AssetCheckKey(dg.AssetKey(["demo", "clips"]), "playable_as_asked")
            found = instance.event_log_storage.get_asset_check_partition_info([key])
        return {
            one.partition_key for one in found if one.partition_key and one.latest_execution_status.value == "FAILED"
        }


@pytest.fixture
def scene(simulator: StartSimulator, tell: Tell) -> Iterator[Scene]:
    require("chromium")
    running = simulator(generation_seconds=1)
    # A short path, because the pages show it.
    with tempfile.TemporaryDirectory(prefix="pixverse-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        table = home / "prompts.csv"
        table.write_text("id,model,prompt,resolution\n")
        environment = {
            "PIXVERSE_PROMPTS": str(table),
            "PIXVERSE_SIMULATOR_URL": running.url,
            "PIXVERSE_PACE": json.dumps(PACE),
        }
        with open_dagster(home, environment, REEL) as dagster, open_browser(dagster.url) as browser:
            made = Scene(home, table, environment, running, dagster, browser, tell)
            made.add_rows(*((row, prompt, "360p") for row, prompt in zip(IDS, PROMPTS, strict=True)))
            yield made


@pytest.mark.cover
@pytest.mark.timeout(600)
def test_a_person_runs_the_pipeline_from_the_pages(scene: Scene) -> None:
    """From the graph to a clip and its cost, by clicking; the simulator's audit says what it charged."""
    started = time.monotonic()
    with scene.browser.showing_failure():
        for step in STEPS:
            step(scene)
    assert not scene.browser.refused, "the pages asked for something outside"
    scene.tell("the pages, all steps", f"{time.monotonic() - started:.0f} s")


def see_the_graph(scene: Scene) -> None:
    """The three assets, and how they hang together."""
    browser = scene.browser
    first = browser.open("/asset-groups")
    for asset in ("prompts", "tasks", "clips", "reel"):
        browser.sees(asset)
    browser.screenshot("graph-empty")
    started = time.monotonic()
    browser.open_asset("demo/clips")
    browser.sees("The stored clip of each row")
    scene.tell("the pages, seconds to the first and to an asset", f"{first:.1f}, {time.monotonic() - started:.1f}")


def read_the_table(scene: Scene) -> None:
    """Materialising `prompts` reads the table: what is in it, and what submitting it would cost. Nothing is sent."""
    browser = scene.browser
    browser.open_asset("demo/prompts")
    browser.button("Materialize").click()
    browser.sees("Launched run")  # a page that is left before has not asked for it
    expect(browser.page.get_by_text("Never materialized")).to_have_count(0, timeout=RUN_SECONDS * 1000)
    # The list of events that is drawn while the run ends may never show what it did.
    wait_until(scene.has_read_the_table, RUN_SECONDS, "the table is read")
    browser.open_asset("demo/prompts", "events")
    expect(browser.metadata("pixverse/rows")).to_have_text("8")
    expect(browser.metadata("pixverse/invalid_rows")).to_have_text("0")
    plan = browser.metadata("pixverse/plan")
    expect(plan.get_by_role("cell")).to_have_text(["new", "8", "0.897"])
    expect(browser.page.get_by_text("Launched run")).to_have_count(0)
    browser.screenshot("prompts", readme=True)
    assert not scene.simulator.tasks()


def add_rows_one_of_them_bad(scene: Scene) -> None:
    """A new row is a new partition; a bad one is named by the check, and stops nobody."""
    browser = scene.browser
    scene.add_rows(("r008", "A kite festival", "360p"), ("r009", "A tram in the rain", "4k"))
    browser.open_asset("demo/prompts", "checks")
    browser.sees("Succeeded")
    browser.button("Materialize").click()
    browser.sees("Failed", RUN_SECONDS)
    browser.sees("line 11, row 'r009', column 'resolution'")
    browser.screenshot("check-failed")
    browser.open_asset("demo/clips", "partitions")
    browser.sees("Missing (9)")
    browser.sees("r008")
    expect(browser.page.get_by_text("r009")).to_have_count(0)
    browser.screenshot("partitions")


def backfill_scattered_rows(scene: Scene) -> None:
    """Three rows here and there: the daemon's backfill stores these clips, pays for these, and touches no other."""
    browser = scene.browser
    browser.choose_partitions("demo/clips", SCATTERED)
    browser.screenshot("backfill")
    started = time.monotonic()
    scene.launch_backfill()
    browser.sees("Materialized (3)", RUN_SECONDS)
    scene.tell("the pages, a backfill of three scattered rows", f"{time.monotonic() - started:.0f} s")
    browser.sees("Missing (6)")
    assert scene.stored() == set(SCATTERED)
    charged = {task["request"]["positivePrompt"] for task in scene.simulator.tasks()}
    assert charged == {PROMPTS[IDS.index(row)] for row in SCATTERED}
    assert len(scene.simulator.tasks()) == 3


def see_a_clip_and_its_cost(scene: Scene) -> None:
    """The partition's page has what the provider charged, where the clip is, and a picture of it."""
    browser = scene.browser
    browser.open_asset("demo/clips", "partitions", partition=quote(SHOT, safe=""))
    (charged,) = (
        task["charged_usd"] for task in scene.simulator.tasks() if task["request"]["positivePrompt"] == PROMPTS[4]
    )
    expect(browser.metadata("pixverse/cost_usd")).to_have_text(f"{charged}")
    expect(browser.metadata("pixverse/cost_source")).to_have_text("provider")
    expect(browser.metadata("pixverse/prompt")).to_have_text(PROMPTS[4])
    clip = Path(browser.metadata("dagster/uri").inner_text().strip())
    assert clip.read_bytes()[4:8] == b"ftyp"
    browser.sees("Materialized")
    browser.screenshot("partition", readme=True)
    browser.metadata("pixverse/poster").get_by_text("Show Markdown").click()
    poster = browser.page.get_by_role("img", name="poster")
    expect(poster).to_be_visible()
    assert str(poster.get_attribute("src")).startswith("data:image/jpeg;base64,")
    assert poster.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [320, 180]
    browser.screenshot("poster")
    browser.button("Close").click()


def see_that_every_outcome_is_known(scene: Scene) -> None:
    """The check on money that was perhaps spent, executed by hand."""
    browser = scene.browser
    browser.open_asset("demo/tasks", "checks")
    browser.sees("outcomes_known")
    browser.button("Execute all").click()
    browser.sees("Passed", RUN_SECONDS)
    browser.sees("Every submit's outcome is known")
    browser.screenshot("outcomes-known")


def see_a_wrong_clip_fail_its_check(scene: Scene) -> None:
    """Somebody swaps a stored file: materialised again, for nothing, the row's check says what came."""
    browser = scene.browser
    (right,), (wrong,) = (scene.home.glob(f"clips/demo/clips/{row}/*/1.mp4") for row in ("r001", "r006"))
    wrong.unlink()
    wrong.write_bytes(right.read_bytes())
    browser.choose_partitions("demo/clips", ["r001", "r006"])
    scene.launch_backfill()
    wait_until(lambda: scene.failed_checks() == {"r006"}, RUN_SECONDS, "the wrong clip fails its check")
    assert len(scene.simulator.tasks()) == len(SCATTERED)
    browser.open_asset("demo/clips", "checks")
    browser.sees("playable_as_asked")
    browser.screenshot("clip-check-failed")


def cut_the_reel(scene: Scene) -> None:
    """Downstream of all clips, by a click: a film of those that are there, and free."""
    browser = scene.browser
    browser.open_asset("demo/reel", "events")
    browser.button("Materialize").click()
    expect(browser.metadata("clips")).to_have_text("3", timeout=RUN_SECONDS * 1000)
    expect(browser.page.get_by_text("Launched run")).to_have_count(0)
    browser.screenshot("reel")
    (film,) = scene.home.glob("films/reels/*.mp4")
    assert film.read_bytes()[4:8] == b"ftyp"


def see_the_graph_filled(scene: Scene) -> None:
    """The graph again: what is stored, and what failed its check."""
    browser = scene.browser
    browser.open("/asset-groups")
    browser.toggle_navigation()
    browser.sees("33% filled")
    browser.screenshot("graph", readme=True)
    browser.toggle_navigation()


def see_how_it_stands(scene: Scene) -> None:
    """All rows in one table, as the newest event of the clips, of no partition."""
    browser = scene.browser
    browser.open_asset("demo/clips", "events")
    browser.sees("pixverse/status")
    browser.sees("the oldest")
    browser.screenshot("status", readme=True)


def backfill_a_row_that_is_in_no_table(scene: Scene) -> None:
    """Two rows in one run: exactly the one that nobody knows is failed, and the run says why."""
    browser = scene.browser
    browser.choose_partitions("demo/clips", ["r008"], new="r099")
    scene.launch_backfill()
    browser.sees("Failed (1)", RUN_SECONDS)
    browser.sees("Materialized (4)")
    assert scene.stored() == {*SCATTERED, "r008"}
    assert len(scene.simulator.tasks()) == 4
    browser.open_asset("demo/clips", "partitions", partition="r099")
    browser.sees("failed, and did not materialize this asset")
    browser.button("View all historical events").click()
    browser.page.get_by_role("dialog").get_by_text("r099", exact=True).click()
    browser.sees("row 'r099' is not in the prompt table as it was last read. Nothing was sent")
    browser.screenshot("row-failed-history")
    browser.page.keyboard.press("Escape")
    browser.screenshot("failed", readme=True)
    browser.page.get_by_role("link", name="View logs").or_(browser.button("View logs")).first.click()
    browser.sees("1 of 2 rows failed; the others are done")
    browser.screenshot("row-failed-why")


def see_runs_and_sensors(scene: Scene) -> None:
    """The runs so far; polling is on, submitting by itself is not."""
    browser = scene.browser
    browser.open("/runs")
    browser.sees("3 partitions")
    browser.screenshot("runs")
    browser.open("/automation")
    for sensor, on in (("demo_poll", True), ("demo_continue", True), ("demo_submit_new", False)):
        link = browser.page.get_by_role("link").filter(has_text=sensor)
        row = browser.page.locator("div").filter(has=link).filter(has=browser.page.get_by_role("checkbox")).last
        expect(row.get_by_role("checkbox").last).to_be_checked(checked=on)
    browser.screenshot("sensors")


STEPS = (
    see_the_graph,
    read_the_table,
    add_rows_one_of_them_bad,
    backfill_scattered_rows,
    see_a_clip_and_its_cost,
    see_that_every_outcome_is_known,
    see_a_wrong_clip_fail_its_check,
    cut_the_reel,
    see_the_graph_filled,
    see_how_it_stands,
    backfill_a_row_that_is_in_no_table,
    see_runs_and_sensors,
)
