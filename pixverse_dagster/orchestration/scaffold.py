"""The test that `dg scaffold defs pixverse_dagster.PixverseClipsComponent` writes beside the project's own."""

from pathlib import Path

_TEST = '''"""The pipeline `{name}`, against a simulator of the providers: no key, no money. Run it with `pytest`."""

from pathlib import Path

import dagster as dg

from pixverse_dagster.testing import PixverseSimulator, assert_charges, assert_clips, assert_paid_once, run_to_end

ROWS = 2


def test_rows_become_clips_and_are_paid_for_once(pixverse_simulator: PixverseSimulator, tmp_path: Path) -> None:
    project = dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
    definitions = pixverse_simulator.connect(project, tmp_path)
    ended = run_to_end(definitions, pipeline="{name}", first=ROWS)
    assert_clips(ended, list(ended.states)[:ROWS])
    assert_charges(pixverse_simulator, ROWS)
    assert_paid_once(pixverse_simulator, ended)
    run_to_end(definitions, pipeline="{name}", first=ROWS)
    assert_charges(pixverse_simulator, ROWS)
'''


def write_test(folder: Path, pipeline: str) -> None:
    """Write a test of this pipeline, unless there is one of that name."""
    path = folder / f"test_{pipeline}.py"
    if not path.exists():
        folder.mkdir(exist_ok=True)
        path.write_text(_TEST.format(name=pipeline))
