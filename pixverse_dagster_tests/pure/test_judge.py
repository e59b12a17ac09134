"""The judge of the crash tests and of the soak: it passes what is right, and names each thing that is wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import pytest

from pixverse_dagster.core.layout import task_folder
from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.core.manifest import ClipOutput
from pixverse_dagster.core.provenance import Origin, build_manifest
from pixverse_dagster.core.task import Task
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster_tests.harness.factories import HIGHWAY, NAME, NOW, RUN, RUNWARE, make_row, make_task
from pixverse_dagster_tests.harness.judge.money import check_attempts, check_ends, check_events, check_money
from pixverse_dagster_tests.harness.judge.records import Books, ClipEvent, Folder
from pixverse_dagster_tests.harness.judge.store import check_store
from pixverse_dagster_tests.harness.putting import putting

PRICE = 0.25


@dataclass
class Records:
    """A provider's audit, one ledger's tasks and a store, all in agreement: two rows of each of two providers."""

    folder: Path
    charges: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    tasks: list[Task] = field(default_factory=list[Task])
    shown: dict[str, ClipEvent] = field(default_factory=dict[str, ClipEvent])
    """What Dagster shows otherwise than it should."""
    off_usd: float = 0
    """How far the ledger's total is from what it should be."""

    def __post_init__(self) -> None:
        self.store = LocalStore(self.folder / "clips")
        (self.folder / "put").mkdir()
        self.put = putting(self.store, self.folder / "put")
        for n, model in enumerate((HIGHWAY, HIGHWAY, RUNWARE, RUNWARE)):
            self.add(n, model)

    def add(self, n: int, model: str, **values: Any) -> Task:
        """A row that was charged and stored."""
        row = make_row(f"r{n}", model, prompt=f"words of r{n}")
        reference = f"ref-{n}"
        fields: dict[str, Any] = {
            "id": str(n), "row": row.id, "digest": row.digest, "request": row.request, "images": row.images,
            "state": TaskState.STORED, "task_id": f"task-{n}", "client_reference": reference, "cost_usd": PRICE,
        }  # fmt: skip
        task = make_task(**fields | values)
        self.charge(task)
        self.tasks.append(task)
        if task.state is TaskState.STORED:
            self.keep(task)
        return task

    def charge(self, task: Task, task_id: str = "") -> None:
        name = "positivePrompt" if task.provider == "runware" else "prompt"
        task_id = task_id or task.task_id or ""
        made = hashlib.sha256(task_id.encode()).hexdigest()
        self.charges.append({
            "provider": task.provider,
            "task_id": task_id,
            "client_reference": task.client_reference if task.provider == "runware" else None,
            "request": {name: task.request.public()["prompt"]},
            "charged_usd": PRICE,
            "status": "succeeded" if task.state is TaskState.STORED else "processing",
            "outputs": [{"sha256": made}] if task.state is TaskState.STORED else [],
        })  # fmt: skip

    def keep(self, task: Task, data: bytes = b"", told: bytes = b"") -> None:
        """Store the task's clip, or these bytes in its place; the manifest tells of those that are `told`."""
        folder, data = task_folder(task), data or (task.task_id or "").encode()
        output = ClipOutput(
            n=1, key=folder.output(1, "mp4"), poster_key=folder.poster(1),
            sha256=hashlib.sha256(told or data).hexdigest(), size_bytes=len(data), poster_sha256="",
            poster_size_bytes=0,
            container="mp4", codec="h264", width=640, height=360, fps=24, duration_seconds=5, audio=False,
        )  # fmt: skip
        manifest = build_manifest(task, [task], [output], Origin("ledger", RUN, "0.1.0", NOW))
        for key, text in ((output.key, data), (folder.manifest, manifest.model_dump_json().encode())):
            (self.folder / "clips" / key).unlink(missing_ok=True)
            assert self.put(key, text)

    def change(self, n: int, **values: Any) -> Task:
        """Another record of the ledger's task `n`."""
        self.tasks[n] = replace(self.tasks[n], **values)
        return self.tasks[n]

    def wrong(self, attempts: int = 1) -> list[str]:
        """What the judge says."""
        answered = {task.task_id for task in self.tasks}
        known = sum(charge["charged_usd"] for charge in self.charges if charge["task_id"] in answered)
        books = Books("ledger", [_as_record(task) for task in self.tasks], known + self.off_usd)
        files = Folder(self.folder / "clips")
        return [
            *check_store(self.charges, files, NAME),
            *check_money(self.charges, [books]),
            *check_attempts(self.charges, books.tasks, attempts),
            *check_ends(self.charges, books.tasks, files),
            *check_events(self.charges, books.newest(), self.events()),
        ]

    def events(self) -> dict[str, ClipEvent]:
        """What Dagster shows of what is stored."""
        stored = [task for task in self.tasks if task.state is TaskState.STORED]
        made = {task.row: hashlib.sha256((task.task_id or "").encode()).hexdigest() for task in stored}
        return {
            task.row: ClipEvent(task.task_id or "", [made[task.row]], made[task.row]) for task in stored
        } | self.shown


def _as_record(task: Task) -> dict[str, Any]:
    """A task as a ledger's table has it."""
    values = {item.name: getattr(task, item.name) for item in fields(task)}
    return values | {"model": task.request.MODEL, "request": task.request.model_dump_json(exclude_none=True)}


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path)


def test_nothing_is_wrong_where_audit_ledger_and_store_agree(records: Records):
    """One charge, one task, one clip for each row."""
    assert records.wrong() == []


def test_a_charge_whose_submit_is_named_unknown_is_accounted_for(records: Records):
    """By its own reference at a provider that is given one, else by its words; by its id where it was kept apart."""
    for n, model in ((4, RUNWARE), (5, HIGHWAY), (6, HIGHWAY)):
        records.add(n, model, state=TaskState.UNKNOWN, reason="no answer came", cost_usd=None, estimate_usd=PRICE)
    records.change(4, task_id=None)
    records.change(5, task_id=None)
    records.off_usd = PRICE
    assert records.wrong() == []


def test_a_second_charge_is_right_after_an_attempt_that_failed_where_one_is_allowed(records: Records):
    """And has a folder of its own."""
    failed = records.change(0, state=TaskState.FAILED, kind=FailureKind.PROVIDER_ERROR, reason="no", folder="")
    records.charges[0] |= {"status": "failed", "outputs": []}
    for name in ("manifest.json", "1.mp4"):
        (records.folder / "clips" / str(task_folder(failed)) / name).unlink()
    records.add(0, HIGHWAY, id="9", task_id="task-9", claim=2, attempt=2)
    assert records.wrong(attempts=2) == []
    assert "2 charges for 'words of r0': ['task-0', 'task-9']" in records.wrong()


def _swap_bytes(records: Records) -> None:
    for n, other in ((0, 1), (1, 0)):
        records.keep(records.tasks[n], data=f"task-{other}".encode(), told=f"task-{n}".encode())


def _swap_clips(records: Records) -> None:
    """Manifest and bytes agree with each other, and the bytes are of another task: what only the audit shows."""
    for n, other in ((0, 1), (1, 0)):
        records.keep(records.tasks[n], data=f"task-{other}".encode())


def _tell_of_another_task(records: Records) -> None:
    records.keep(replace(records.tasks[0], task_id="task-1"), data=b"task-0")


def _tell_of_no_task(records: Records) -> None:
    records.keep(replace(records.tasks[0], task_id="task-77"), data=b"task-0")


def _tell_of_another_reference(records: Records) -> None:
    records.keep(replace(records.tasks[2], client_reference="ref-3"))


def _store_what_nobody_made(records: Records) -> None:
    records.put(f"{task_folder(records.tasks[0])}-a2/1.mp4", b"something else")


def _store_twice(records: Records) -> None:
    records.put(f"{task_folder(records.tasks[1])}-a2/1.mp4", b"task-0")


def _charge_twice(records: Records) -> None:
    records.charge(records.tasks[0], "task-77")


def _charge_another_account(records: Records) -> None:
    records.charges.append({**records.charges[2], "account": "b"})


def _lose_a_task(records: Records) -> None:
    records.tasks.pop(3)


def _record_twice(records: Records) -> None:
    records.tasks.append(replace(records.tasks[0], id="9", row="r1"))


def _record_what_was_not_accepted(records: Records) -> None:
    records.charges.pop(3)


def _give_to_another_row(records: Records) -> None:
    records.change(0, task_id="task-1")
    records.change(1, task_id="task-0")


def _forget_the_reason(records: Records) -> None:
    records.add(4, RUNWARE, state=TaskState.UNKNOWN)
    records.change(4, task_id=None, reason="")


def _count_too_much(records: Records) -> None:
    records.off_usd = 0.01


def _count_too_little(records: Records) -> None:
    records.off_usd = -0.01


def _pay_again_meanwhile(records: Records) -> None:
    records.add(4, HIGHWAY, state=TaskState.FAILED, kind=FailureKind.PROVIDER_ERROR)
    records.tasks.append(replace(records.tasks[4], id="9", claim=2, task_id=None, state=TaskState.REFUSED))


def _lose_the_manifest(records: Records) -> None:
    (records.folder / "clips" / str(task_folder(records.tasks[0])) / "manifest.json").unlink()


def _rewrite_the_manifest(records: Records) -> None:
    records.change(0, manifest_sha256="0" * 64)


def _leave_a_file_behind(records: Records) -> None:
    records.put(f"{task_folder(records.tasks[0])}/2.jpg", b"a picture")


def _call_it_failed(records: Records) -> None:
    records.change(0, state=TaskState.FAILED, kind=FailureKind.PROVIDER_ERROR, reason="no clip")


def _leave_it_open(records: Records) -> None:
    records.change(0, state=TaskState.SUCCEEDED)


def _show_another_clip(records: Records) -> None:
    records.shown["r0"] = records.events()["r1"]


def _show_what_is_not_there(records: Records) -> None:
    records.shown["r9"] = records.events()["r1"]


def _show_other_bytes(records: Records) -> None:
    records.shown["r0"] = replace(records.events()["r0"], data_version="0" * 64)


def _claim_after_a_clip(records: Records) -> None:
    records.tasks.append(replace(records.tasks[0], id="9", claim=2, task_id=None, state=TaskState.REFUSED))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_swap_bytes, "and the files hold"),
        (_swap_clips, "and the manifest has"),
        (_tell_of_another_task, "paid for other words than those of row 'r0'"),
        (_tell_of_another_task, "task task-1 is stored 2 times"),
        (_tell_of_no_task, "task task-77 was never accepted"),
        (_tell_of_another_reference, "the manifest is not of this task: runware, ref-3"),
        (_store_what_nobody_made, "no provider made these bytes"),
        (_store_twice, "one clip is stored 2 times"),
        (_charge_twice, "2 charges for 'words of r0'"),
        (_charge_twice, "task task-77 of highway ('words of r0') has no attempt that answers for it"),
        (_charge_another_account, "task task-2 was charged by each of ['runware', 'runware b']"),
        (_lose_a_task, "task task-3 of runware ('words of r3') has no attempt that answers for it"),
        (_record_twice, "is answered for by 2 attempts of ['r0', 'r1']"),
        (_record_what_was_not_accepted, "row 'r3' has task task-3, which was never accepted"),
        (_give_to_another_row, "is recorded for row 'r0', which has other words"),
        (_forget_the_reason, "row 'r4' is unknown for no reason"),
        (_count_too_much, "ledger ledger counts 1.0100 USD; charged were 1.0000"),
        (_count_too_little, "ledger ledger counts 0.9900 USD; charged were 1.0000"),
        (_pay_again_meanwhile, "row 'r4' was paid again while task task-4 was still under way"),
        (_lose_the_manifest, "row 'r0' is stored without a manifest"),
        (_rewrite_the_manifest, "row 'r0' has another manifest than the ledger knows"),
        (_leave_a_file_behind, "row 'r0' has the files ['1.mp4', '2.jpg', 'manifest.json'], its manifest"),
        (_call_it_failed, "row 'r0' failed (provider_error: no clip), its provider: succeeded"),
        (_leave_it_open, "row 'r0' has not ended: succeeded"),
        (_show_another_clip, "Dagster shows task task-1 for row 'r0', the ledger task-0"),
        (
            _show_what_is_not_there,
            "Dagster shows ['r0', 'r1', 'r2', 'r3', 'r9'] as materialised, the ledger has stored",
        ),
        (_show_other_bytes, "for row 'r0', whose task made"),
        (_claim_after_a_clip, "row 'r0' has a further claim after claim 1, which is stored"),
    ],
)
def test_what_is_wrong_is_named(records: Records, spoil: Callable[[Records], None], words: str):
    """Each fault that a crash could make is seen by the provider's own books, and said in words."""
    spoil(records)
    assert [one for one in records.wrong() if words in one], records.wrong()
