"""The documents say what the code does."""

import re
import subprocess
from pathlib import Path

import pytest

from pixverse_dagster_tests.harness.documents import rendered

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("page", "text"), list(rendered(ROOT)), ids=lambda part: getattr(part, "name", ""))
def test_what_derives_from_the_code_is_as_the_code_is(page: Path, text: str) -> None:
    """Parameters, variables, layers and moves: `python -m pixverse_dagster_tests.harness.documents` writes them."""
    assert page.read_text() == text


@pytest.mark.parametrize("name", ["demo", "test"])
def test_the_readme_has_each_command_on_one_line(name: str) -> None:
    """A command that does all its own set-up, as CI runs it."""
    found = re.search(rf"<!-- command: {name} -->\n```bash\n([^\n]+)\n```", (ROOT / "README.md").read_text())
    assert found
    assert found.group(1).startswith("python3.11 -m venv .venv && ")


def test_every_link_of_the_documents_leads_somewhere() -> None:
    """Relative links in README and docs name files that exist."""
    examples = (ROOT / "examples").glob("*/README.md")
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "benchmarks" / "README.md", *examples]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_tree_names_no_machine_and_no_registry() -> None:
    """Constraints are names and versions; no file has an absolute path of the machine it was made on."""
    constraints = (ROOT / "constraints.txt").read_text()
    assert not re.search(r"https?://|index-url|find-links", constraints)
    try:
        tracked = subprocess.run(
            ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    home = str(ROOT) + "/"
    texts = [
        ROOT / name for name in tracked if Path(name).suffix in {".py", ".md", ".toml", ".txt", ".yaml", ".json", ""}
    ]
    found = [path.name for path in texts if path.is_file() and home in path.read_text(errors="replace")]
    assert not found
