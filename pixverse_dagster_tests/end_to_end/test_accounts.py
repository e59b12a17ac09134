"""A person looks at the accounts' keys, and says that two of them are of one account."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pixverse_dagster_tests.harness.commands import Home, materialize, pixverse, run_rows, write_table

KEYS = {"first-key": "a", "rotated-key": "a"}


def test_a_rotated_key_is_listed_and_confirmed(tmp_path: Path, project: Callable[..., Home]) -> None:
    """The list shows both keys and what waits; the dry run changes nothing; once confirmed, nothing is unproven."""
    table = write_table(tmp_path / "t.csv", 2, ("pixwith/pixverse-v5",))
    home, environment, _ = project(table, generation_seconds=600, keys=KEYS)

    def with_key(key: str) -> dict[str, str]:
        own = {name: {"api_key": key} for name in ("highway", "runware", "pixwith")}
        return environment | {"PIXVERSE_ACCOUNTS": json.dumps(own)}

    def command(*words: str, key: str = "rotated-key", code: int = 0) -> str:
        done = pixverse("accounts", *words, home=home, environment=with_key(key), check=False)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    def listed(key: str = "rotated-key") -> list[dict[str, Any]]:
        found = json.loads(command("list", "--json", key=key))
        return [line for line in found if line["account"] == "pixwith/simulator"]

    materialize(with_key("first-key"), "demo/prompts")
    run_rows(with_key("first-key"), "demo_submit", "demo_submit_rows", ["r000", "r001"])
    (one,) = listed("first-key")
    assert (one["present"], one["open_tasks"], one["standing"], one["world"]) == (True, 2, "own", "simulator")
    old, new = sorted(listed(), key=lambda line: line["present"])
    assert (old["open_tasks"], old["standing"], old["first_seen_at"] is not None) == (2, "unproven", True)
    assert (new["open_tasks"], new["standing"]) == (0, "own")
    words = command("list")
    assert "accounts confirm pixwith/simulator" in words
    assert "first-key" not in words
    assert "2 open tasks go on under it" in command("confirm", "pixwith/simulator", "--dry-run")
    assert "unproven" in {line["standing"] for line in listed()}
    assert f"key {old['key']}" in command("confirm", "pixwith/simulator")
    assert {line["standing"] for line in listed()} == {"own"}
    assert "nothing to confirm" in command("confirm", "pixwith/simulator")
    assert "it knows: highway/simulator" in command("confirm", "pixwith/nobody", code=2)
