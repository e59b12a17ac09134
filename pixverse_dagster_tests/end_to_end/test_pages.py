"""What README and the pages tell an operator to type, typed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pixverse_dagster_tests.harness.commands import demo
from pixverse_dagster_tests.harness.servers import Simulator

ROOT = Path(__file__).parents[2]


def typed(page: str, name: str, *changes: tuple[str, str]) -> str:
    """The block of this name on a page, with these words in the place of others; each has to be there."""
    found = re.search(rf"<!-- command: {name} -->\n```bash\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert found, name
    text = found.group(1)
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return text


def type_in(folder: Path, text: str, **environment: str) -> str:
    """Type it in a folder; it succeeds. Returns what it printed."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=folder, env={**os.environ, "PATH": path, "COLUMNS": "200", "HOME": str(folder), **environment},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.cover
def test_what_the_readme_says_after_the_demo(tmp_path: Path) -> None:
    """The list and the comparison, of a demo's home; `dev` has tests of its own."""
    demo(tmp_path / "pixverse-demo", "--rows", "2", "--generation-seconds", "0.5")
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    printed = type_in(tmp_path, typed("README.md", "after the demo", (".venv/bin/pixverse-dagster dev ", "true ")))
    assert "cat-blinks" in printed


@pytest.mark.cover
def test_what_the_page_of_the_gallery_says(tmp_path: Path) -> None:
    """Written beside the clips, elsewhere, with links to runs, and in full."""
    demo(tmp_path / "home", "--rows", "1", "--generation-seconds", "0.5")
    home = str(tmp_path / "home")
    type_in(tmp_path, typed("docs/gallery.md", "gallery"), DAGSTER_HOME=home)
    elsewhere = typed("docs/gallery.md", "gallery elsewhere", (" URL ", " http://127.0.0.1:3000 "))
    type_in(tmp_path, elsewhere, DAGSTER_HOME=home)
    assert (tmp_path / "DIR" / "index.html").is_file()


@pytest.mark.cover
def test_the_variables_of_going_live_are_planned_without_a_charge(
    server: Simulator, postgres_database: str, tmp_path: Path
) -> None:
    """The plan is made, the definitions load; whatever was sent would arrive at the simulator, as a proxy."""
    (tmp_path / "trailers.csv").write_text("id,prompt,model\nkite,A kite,runware/pixverse-v4.5\n")
    block = typed(
        "docs/going-live.md",
        "live variables",
        ("RUNWARE_API_KEY=… HIGHWAY_API_KEY=… PIXWITH_API_KEY=…", "RUNWARE_API_KEY=rw-not-a-key"),
        ("postgresql://ledger@db/ledger", postgres_database),
        # The bucket is nobody's and the key is none: it names both, and ends with 1.
        ("check -m pixverse_dagster.definitions", "check -m pixverse_dagster.definitions >checked || test $? = 1"),
        ("plan -m", "plan --json -m"),
        ("dagster dev -m", "dagster definitions validate -m"),
    )
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), server.url)
    printed = type_in(tmp_path, block, **proxies)
    totals = json.loads(printed[: printed.rindex("}") + 1])["totals"]
    assert totals["new"] == 1
    assert "runware" in (tmp_path / "checked").read_text()
    assert not server.requests()
