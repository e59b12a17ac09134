"""The simulator's state: accepted tasks, what they cost, how they end, and the audit.

Only the thread of the event loop uses it, between two awaits, so every change is atomic without a lock. Rendering is
done in another thread, and gives a future. Times are those of the monotonic clock, so that a change of the wall clock
has no effect on tasks.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from secrets import token_hex, token_urlsafe
from typing import Any, Final, Literal

from pixverse_dagster.simulator.faults import KEY, SUBMIT_KINDS, TASK_KINDS, Faults, Settings
from pixverse_dagster.simulator.media import Clip, Shape, Template, Templates
from pixverse_dagster.simulator.uploads import Uploads

Status = Literal["processing", "succeeded", "failed"]
Fate = Literal["good", "failed", "moderated", "stuck"]

_SPREAD: Final = 0.3
_SEED_SPACE: Final = 2**31


@dataclass(frozen=True)
class Order:
    """A submission that passed every check: what to make and what one result of it costs."""

    provider: str
    model: str
    account: str
    request: dict[str, Any]
    shape: Shape
    price_usd: float
    task_id: str
    count: int = 1
    client_reference: str | None = None

    @property
    def name(self) -> str:
        """A name that no other order has: two accounts may choose the same id."""
        return _name(self.account, self.task_id)


def _name(account: str, task_id: str) -> str:
    return task_id if account == KEY else f"{account}.{task_id}"


@dataclass(frozen=True)
class Link:
    """A signed link to an output: when it ends, or whether it was drawn as expired from the start."""

    ends: float
    drawn_expired: bool

    @property
    def has_ended(self) -> bool:
        return self.drawn_expired or time.monotonic() >= self.ends


@dataclass
class Output:
    """One result of a task. It is finished once the time `due` has passed and its template has been rendered."""

    name: str
    fate: Fate
    seed: int
    due: float
    template: Future[Template] | None
    downloads: int = 0
    signature: str | None = None
    signatures: dict[str, Link] = field(default_factory=dict[str, Link])  # every one that was issued
    uuid: str = ""
    rendered: float | None = None
    """When its template was there; not before, if it was there already."""
    gone: bool = False
    """Whether it is kept no longer: every link to it has expired, also one that is issued now."""

    @property
    def status(self) -> Status:
        if self.fate == "stuck" or time.monotonic() < self.due:
            return "processing"
        if self.template is None:
            return "failed"
        return "succeeded" if self.template.done() else "processing"

    def note_rendering(self) -> None:
        """Note when the template is there, if that is not noted yet."""
        if self.template and self.rendered is None:
            self.template.add_done_callback(lambda _: setattr(self, "rendered", time.monotonic()))

    @property
    def clip(self) -> Clip | None:
        """The clip, once this output has succeeded."""
        return self.template.result().clip(self.name) if self.template and self.status == "succeeded" else None


@dataclass
class Task:
    """One accepted and charged submission."""

    order: Order
    outputs: list[Output]
    born: float
    accepted_at: str
    polls: int = 0
    last_response: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def charged_usd(self) -> float:
        return round(self.order.price_usd * self.order.count, 6)

    @property
    def status(self) -> Status:
        found = {output.status for output in self.outputs}
        if "processing" in found:
            return "processing"
        return "succeeded" if "succeeded" in found else "failed"

    @property
    def rendered_at(self) -> str | None:
        """When the last of its outputs was finished, as a poll could have told; None before that."""
        if self.status == "processing":
            return None
        finished = max(max(output.due, output.rendered or 0) for output in self.outputs)
        return (datetime.fromisoformat(self.accepted_at) + timedelta(seconds=finished - self.born)).isoformat()

    @property
    def progress(self) -> int:
        """The share of the time that has passed, in percent: 0 to 99."""
        whole = max(output.due for output in self.outputs) - self.born
        return min(99, int(100 * (time.monotonic() - self.born) / whole)) if whole > 0 else 99

    def path(self, number: int) -> str:
        return f"/media/{self.order.name}/{number}.{self.order.shape.container}"


class SimulatorState:
    """The accepted tasks, and how often each call was answered in which way."""

    def __init__(self, settings: Settings) -> None:
        self.settings = self._first = settings
        self.templates = Templates()
        self.reset()

    def reset(self) -> None:
        """Back to the state at the start: no tasks, uploads or counts, the same draws. Rendered templates are kept."""
        self.settings = self._first
        self.faults = Faults(self.settings)
        self.touched: set[str] = set()
        """The tasks that may have changed since they were last kept."""
        self.tasks: dict[str, Task] = {}
        self.uploads = Uploads()
        self.requests: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))

    def change(self, given: Mapping[str, Any]) -> None:
        """Other settings from now on, until a reset. What was accepted ends as it was drawn.

        Raises:
            ValueError: there is no such setting that may change, or a value is not one.
        """
        if unknown := given.keys() - {"faults", "generation_seconds"}:
            raise ValueError(f"{min(unknown)!r} is no setting that may change: faults, generation_seconds")
        try:
            self.settings = replace(self.settings, **given)
        except (TypeError, AttributeError) as error:
            raise ValueError(f"faults are an object of rates, generation_seconds a number: {error}") from None
        self.faults.set_rates(self.settings.faults)

    def submit_fault(self) -> tuple[str | None, bool]:
        """Which fault a valid submission meets, and whether it is accepted (and charged) all the same."""
        kind = self.faults.first(SUBMIT_KINDS)
        if kind == "submit.server_error":
            return kind, self.faults.dice("submit.server_error/accepted").random() < 0.5  # noqa: PLR2004 - one in two
        return kind, kind in (None, "submit.lost_response")

    def accept(self, order: Order) -> Task:
        """Charges the order and starts its outputs. How each one ends is drawn here, once."""
        order = replace(order, price_usd=round(order.price_usd * self.settings.charge_factor, 6))
        whole = self.faults.first(TASK_KINDS)
        now = time.monotonic()
        outputs = [self._output(order, number, whole, now) for number in range(1, order.count + 1)]
        task = Task(order, outputs, born=now, accepted_at=datetime.now(UTC).isoformat())
        self.tasks[order.name.lower()] = task
        self.touched.add(order.name.lower())
        return task

    def _output(self, order: Order, number: int, whole: str | None, now: float) -> Output:
        if whole is not None:
            fate: Fate = "stuck" if whole == "task.stuck" else "moderated"
        else:
            fate = "failed" if self.faults.strikes("task.failed") else "good"
        spread = self.faults.dice("duration").uniform(1 - _SPREAD, 1 + _SPREAD)
        given = order.request.get("seed")
        drawn = self.faults.dice("clip.seed").randrange(_SEED_SPACE)
        output = Output(
            name=f"{order.name}/{number}",
            fate=fate,
            seed=given + number - 1 if isinstance(given, int) else drawn,
            due=now + self.settings.generation_seconds * spread,
            template=self.templates.start(order.shape) if fate == "good" else None,
            uuid=f"{token_hex(4)}-{token_hex(2)}-4{token_hex(2)[1:]}-a{token_hex(2)[1:]}-{token_hex(6)}",
        )
        output.note_rendering()
        return output

    def find(self, provider: str, account: str, task_id: str) -> Task | None:
        """The account's task of this id, in either letter case; None if there is none."""
        task = self.named(_name(account, task_id))
        return task if task and task.order.provider == provider else None

    def named(self, name: str) -> Task | None:
        """The task of this name, in either letter case, to be read or changed; None if there is none."""
        task = self.tasks.get(name.lower())
        if task:
            self.touched.add(name.lower())
        return task

    def accept_keys(self, keys: Mapping[str, str]) -> None:
        """Accept these keys too; whose they are is as the settings have it, where these say otherwise."""
        self.settings = replace(self.settings, keys={**keys, **self.settings.keys})

    def signed_url(self, base: str, task: Task, number: int) -> str:
        """The presigned URL of a finished output.

        Every poll gives the same URL until that has ended, by time or because it was drawn as expired.
        """
        output = task.outputs[number - 1]
        lasts = self.settings.link_seconds
        if output.signature is None or output.signatures[output.signature].has_ended:
            output.signature = token_urlsafe(24)
            link = Link(time.monotonic() + lasts, self.faults.strikes("media.expired"))
            output.signatures[output.signature] = link
        return f"{base}{task.path(number)}?X-Sim-Expires={lasts:g}&X-Sim-Signature={output.signature}"

    def expire(self, task_id: str, number: int | None = None) -> int:
        """Keep output `number` of the task no longer, or none of its outputs; how many that are."""
        tasks = [task for task in self.tasks.values() if task.order.task_id == task_id]
        doomed = [output for task in tasks for n, output in enumerate(task.outputs, 1) if number in {None, n}]
        for output in doomed:
            output.gone = True
        self.touched.update(task.order.name.lower() for task in tasks)
        return len(doomed)

    def count(self, provider: str, call: str, outcome: str) -> None:
        self.requests[provider][call][outcome] += 1

    def audit(self, base: str) -> list[dict[str, Any]]:
        """One object per accepted submission, oldest first. Changes nothing."""
        return [_audited(task, base) for task in self.tasks.values()]


def _audited(task: Task, base: str) -> dict[str, Any]:
    order = task.order
    status = task.status  # read before the clips, so that a task that has succeeded has them
    clips = [(number, output, output.clip) for number, output in enumerate(task.outputs, 1)]
    return {
        "provider": order.provider,
        "model": order.model,
        "account": order.account,
        "task_id": order.task_id,
        "client_reference": order.client_reference,
        "request": order.request,
        "charged_usd": task.charged_usd,
        "status": status,
        "accepted_at": task.accepted_at,
        "rendered_at": task.rendered_at,
        "polls": task.polls,
        "outputs": [
            {
                "url": base + task.path(number),
                "sha256": clip.sha256,
                "bytes": clip.size_bytes,
                "downloads": output.downloads,
            }
            for number, output, clip in clips
            if clip is not None
        ],
    }
