"""A person renames and forgets from the command line: what is paid, what is left, and what Dagster shows."""

import json
from pathlib import Path

import dagster as dg

from pixverse_dagster_tests.harness.commands import make_home, materialize, pixverse, run_on, states, write_table
from pixverse_dagster_tests.harness.servers import running_simulator

NEW = 'sc01/sh020, "[a]" it\'s #1 *?'


def test_a_row_is_renamed_and_another_one_forgotten(tmp_path: Path) -> None:
    """Nothing is paid for again; Dagster has the new partition, and the forgotten one says that it was deleted."""
    table = write_table(tmp_path / "t.csv", 2, ("runware/pixverse-v4.5",))
    with running_simulator(tmp_path, generation_seconds=0) as running:
        home, environment, _ = make_home(tmp_path / "home", table, running)
        materialize(environment, "demo/prompts")
        run_on(environment, 2)
        said = pixverse("ledger", "rename", "--row", "r001", NEW, home=home, environment=environment).stdout
        assert f"r001 → {NEW}: 1 stored clips" in said
        assert "Dagster was told of 1 clips" in said
        quoted = NEW.replace('"', '""')
        table.write_text(table.read_text().replace("r001,", f'"{quoted}",'))
        materialize(environment, "demo/prompts")
        materialize(environment, "demo/clips", "--partition", NEW)
        retake_what_was_rejected(tmp_path, home, environment)
        done = pixverse("clips", "forget", "r000", home=home, environment=environment, check=False)
        assert done.returncode == 1  # nobody answered the question
        assert "Delete take 1 of row 'r000' of 'demo' (3 files)?" in done.stdout
        said = pixverse("clips", "forget", "r000", "--words", "--yes", home=home, environment=environment).stdout
        assert "Dagster keeps 1 earlier events of partition 'r000'" in said
        assert "the next reading brings its words back" in said
        assert states(home, environment) == {"stored": 1, "forgotten": 1}
        assert "0 disagreements" in pixverse("verify", home=home, environment=environment).stdout
        assert len(running.tasks()) == 2
        with dg.DagsterInstance.from_config(str(home)) as instance:
            assert NEW in instance.get_dynamic_partitions("demo_rows")
            records = instance.fetch_materializations(
                dg.AssetRecordsFilter(dg.AssetKey(["demo", "clips"]), asset_partitions=["r000"]), limit=1
            ).records
        event = records[0].asset_materialization
        assert event is not None
        assert "deleted on demand" in (event.description or "")


def retake_what_was_rejected(folder: Path, home: Path, environment: dict[str, str]) -> None:
    """The price and a question first, and only once, whatever the row is called now; nothing is sent by it."""
    (clip,) = (home / "clips" / "demo" / "clips" / "r001").rglob("1.mp4")
    picks = folder / "my picks.csv"
    lines = ["Mark;Clip", f"reject;{clip.relative_to(home / 'clips').with_suffix('')}", "reject;demo/clips/x/0-t1/1"]
    picks.write_text("\n".join(lines))
    words = ("clips", "retake", str(picks))
    asked = pixverse(*words, home=home, environment=environment, check=False)
    assert asked.returncode == 1  # nobody answered the question
    assert "Ask for 1 more take, for about 0." in asked.stdout
    assert "'demo/clips/x/0-t1/1' is no clip's key" in asked.stderr
    said = pixverse(*words, "--yes", home=home, environment=environment).stdout
    assert "1 rows were asked for" in said
    again = json.loads(pixverse(*words, "--yes", "--json", home=home, environment=environment).stdout)
    assert (again["rows"], again["asked"]) == ([], [])
    assert "take 2, which is not submitted yet" in again["left_out"][0]["why"]
    pixverse("tasks", "abandon", NEW, home=home, environment=environment)
