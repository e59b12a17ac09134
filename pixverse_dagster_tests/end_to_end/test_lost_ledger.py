"""A home whose ledger is lost: the store knows what was paid for."""

from __future__ import annotations

from pathlib import Path

from pixverse_dagster.core.layout import MARKER
from pixverse_dagster_tests.harness.commands import demo, pixverse


def contents(home: Path) -> dict[Path, bytes]:
    """Every file of the home's store."""
    root = next(home.rglob(MARKER)).parent
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and ".incoming" not in path.parts}


def test_a_home_whose_ledger_is_deleted_charges_nothing_the_second_time(tmp_path: Path):
    """The second run of the demo takes in what the store holds; `verify` finds nothing; looking writes nothing."""
    home = tmp_path / "home"
    first = demo(home, "--rows", "4")
    lost = [path for path in home.rglob("*.db*") if "ledger" in path.name]
    assert lost
    for path in lost:
        path.unlink()
    second = demo(home, "--rows", "4")
    assert (first["charged_tasks"], second["charged_tasks"]) == (4, 0)
    assert [clip["state"] for clip in second["clips"]] == ["stored"] * 4
    assert [clip["where"] for clip in second["clips"]] == [clip["where"] for clip in first["clips"]]
    before = contents(home)
    for looking in (["verify"], ["plan"], ["ledger", "rebuild", "--dry-run"]):
        pixverse(*looking, home=home)
        assert contents(home) == before, looking
