"""The documents say what the code does."""

import re
import subprocess
import tomllib
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


OURS = re.compile(
    r"https://(?:github\.com/pixverse-dagster/pixverse-dagster/(?:blob|tree)"
    r"|raw\.githubusercontent\.com/pixverse-dagster/pixverse-dagster)/main/"
)


def links(page: Path) -> list[tuple[bool, str]]:
    """Every link of a page: whether it shows a picture, and its target."""
    text = page.read_text()
    inline = re.findall(r"(!?)\[[^\]]*\]\(([^)\s]+)\)", text)
    named = re.findall(r"^()\[[^\]]*\]: (\S+)$", text, re.MULTILINE)
    return [(bool(bang), target) for bang, target in (*inline, *named)]


def test_every_link_of_the_documents_leads_somewhere() -> None:
    """Relative links, and absolute ones into this repository, name files that exist."""
    examples = (ROOT / "examples").glob("*/README.md")
    checked = 0
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "benchmarks" / "README.md", *examples]:
        for _, target in links(page):
            inside = OURS.sub("", target)
            if inside == target and ":" in target:
                continue
            file = inside.partition("#")[0]
            found = ROOT / file if inside != target else page.parent / file
            assert found.exists(), f"{page.name} links to {target}"
            checked += 1
    assert checked > 10


def test_the_readme_reads_anywhere() -> None:
    """It is a page of package indexes too: there a relative link leads nowhere, and a picture must be the raw file."""
    for is_picture, target in links(ROOT / "README.md"):
        assert target.startswith("https://"), target
        assert is_picture == target.startswith("https://raw."), target


def test_the_urls_of_the_project_are_those_of_the_documents() -> None:
    """One repository is named, and what is named in it exists."""
    urls: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
    assert set(urls) == {"Homepage", "Repository", "Documentation", "Changelog", "Issues"}
    assert {
        url for url in urls.values() if not url.startswith("https://github.com/pixverse-dagster/pixverse-dagster")
    } == set()
    assert (ROOT / OURS.sub("", urls["Changelog"])).is_file()
    assert (ROOT / OURS.sub("", urls["Documentation"])).is_dir()


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
