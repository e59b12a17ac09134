"""`pixverse-dagster read`: the command that one tries first."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from pixverse_dagster.cli.read import read as read_command

OWN = "Shot Code,Description,Notes\nsc01-sh010,a lighthouse in heavy rain,wide\nsc01-sh020,the lamp turns,close\n"


def shown(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(read_command, list(words))
    return done.exit_code, " ".join(done.output.split()) or str(done.exception)


def test_read_shows_what_a_table_would_be_read_as(tmp_path: Path):
    """Rows, what each column is, separator, problems and cost, without a project."""
    (tmp_path / "own.csv").write_text(OWN)
    path = str(tmp_path / "own.csv")
    code, said = shown(path, "--columns", "id=Shot Code,prompt=Description", "--labels", "*")
    assert code == 0
    counted = "2 rows can be generated, 0 rows cannot"
    for words in ("separator comma", "│ Shot Code │ id │", "│ Notes │ label │", counted, "would cost about 0.299 USD"):
        assert words in said
    (tmp_path / "t.csv").write_text("id;prompt;seed;odd\na;#REF!;nan;\nb;kite;;x\nc;;;\n")
    code, said = shown(str(tmp_path / "t.csv"), "--json")
    found = json.loads(said)
    assert code == 1
    assert found["totals"] == {"rows": 0, "invalid_rows": 3, "models": {}}
    assert found["columns"] == {"id": "id", "prompt": "prompt", "seed": "seed", "odd": "not known"}
    assert [(one["row"], one["column"]) for one in found["problems"]] == [
        ("a", "prompt"), ("a", "seed"), ("b", "odd"), ("c", "prompt")]  # fmt: skip
    assert "has no column 'id'" in shown(path)[1]
    assert "write NAME=COLUMN" in shown(path, "--columns", "id")[1]


def test_read_does_not_wait_for_dagster(tmp_path: Path):
    """It answers in a second."""
    (tmp_path / "t.csv").write_text("id,prompt\na,kite\n")
    code = (
        "import sys; from pixverse_dagster.cli import main; sys.argv = ['x', 'read', sys.argv[1]]\n"
        "try: main()\nexcept SystemExit: print({'dagster', 'sqlalchemy', 'boto3', 'pyarrow'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "t.csv")], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "set()"
