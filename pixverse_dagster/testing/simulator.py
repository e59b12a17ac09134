"""The simulator, as a test has it: what it charged, its faults, its time, and pipelines that use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import dagster as dg
import httpx

from pixverse_dagster.orchestration.factory import build_clips_definitions
from pixverse_dagster.orchestration.io_managers.local import LocalClipIOManager
from pixverse_dagster.orchestration.play import find_pipelines
from pixverse_dagster.orchestration.resources import RESOURCES, LedgerResource, ProviderResource
from pixverse_dagster.orchestration.spec import PipelineSpec
from pixverse_dagster.policy.timing import Pace
from pixverse_dagster.stages.options import PipelineOptions

KEY = "simulator"
QUICK = Pace(
    first_poll_seconds=0.2,
    max_poll_seconds=1,
    claim_lease_seconds=70,
    collect_after_seconds=0.2,
    offer_seconds=30,
    collect_lease_seconds=20,
    collect_retry_seconds=0.5,
    hold_seconds=0.5,
    missing_seconds=20,
    partial_seconds=10,
    task_deadline_seconds=30,
    result_lifetime_seconds=60,
)
"""The pace of a test: what takes minutes at a provider takes seconds."""
_ANSWER_SECONDS = 30


class PixverseSimulator:
    """The three providers on this machine. It accepts the key `simulator`, and records what it charged."""

    def __init__(self, address: str) -> None:
        self.address = address
        """Where it is, as `http://127.0.0.1:PORT`. Its sample images are at `/samples/coffee.png` and the like."""
        # No proxy stands between this machine and itself.
        self._http = httpx.Client(base_url=address, timeout=_ANSWER_SECONDS, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._http.close()

    def __repr__(self) -> str:
        return f"PixverseSimulator({self.address!r})"

    # --- what it saw

    def tasks(self) -> list[dict[str, Any]]:
        """Every accepted submission, and so every charge, the oldest first.

        Each has `provider`, `model`, `task_id`, `client_reference`, `request`, `charged_usd`, `status`, `accepted_at`,
        `polls` and `outputs`.
        """
        return self._ask("GET", "tasks")

    @property
    def charged_usd(self) -> float:
        """What it has charged in all."""
        return round(sum(task["charged_usd"] for task in self.tasks()), 6)

    def requests(self) -> dict[str, dict[str, dict[str, int]]]:
        """How often it was asked: by provider, call and HTTP status."""
        return self._ask("GET", "requests")

    def drawn_faults(self) -> dict[str, int]:
        """How often each fault has struck."""
        return self._ask("GET", "faults")

    # --- what it does

    def set_faults(self, rates: Mapping[str, float]) -> None:
        """From now on these faults strike, at these rates from 0 to 1, and no others: `{"task.failed": 1}`.

        `{}` ends them. What was accepted before ends as it was drawn then. Raises ValueError for an unknown fault.
        """
        self._ask("POST", "settings", {"faults": dict(rates)})

    def set_generation_seconds(self, seconds: float) -> None:
        """How long a clip takes that is submitted from now on, give or take 30 %."""
        self._ask("POST", "settings", {"generation_seconds": seconds})

    def make_sick(self, provider: str, kind: str, part: str = "all") -> None:
        """From the next request on one provider hangs, is slow, fails, lies, floods or is away.

        `kind` is hang, slow, error, html, wrong_ids, wrong_types, flood or away; `part` is api, media or all.
        """
        self._ask("POST", "sick", {"provider": provider, "kind": kind, "part": part})

    def heal(self, provider: str = "") -> None:
        """The provider is well again; all of them without a name."""
        self._ask("POST", "heal", {"provider": provider} if provider else {})

    def end_links(self, task_id: str) -> int:
        """The results of this task are kept no longer, as after their lifetime; returns how many there were."""
        return self._ask("POST", "expire", {"task_id": task_id})["expired"]

    def reset(self) -> None:
        """As freshly started: nothing charged, no faults, clips ready at once. Each test begins so."""
        self._ask("POST", "reset")

    # --- pipelines that use it

    def providers(self) -> list[ProviderResource]:
        """One account at each of the three providers."""
        return [self._account(resource, {}) for resource in RESOURCES.values()]

    def options(self, options: PipelineOptions | None = None) -> PipelineOptions:
        """These options for the simulator: what is there may be fetched, and nobody waits long."""
        given = options or PipelineOptions()
        download = given.download.model_copy(update={"allow_private_network": True})
        return given.model_copy(update={"download": download, "pace": QUICK})

    def clips(self, folder: Path) -> LocalClipIOManager:
        """A store of clips and a ledger of its own, both in this folder."""
        url = f"sqlite:///{(folder / 'ledger.db').resolve()}"
        return LocalClipIOManager(base_dir=str(folder / "clips"), ledger=LedgerResource(url=url))

    def build(
        self, name: str, prompts: Any, folder: Path, options: PipelineOptions | None = None, **more: Any
    ) -> dg.Definitions:
        """`build_clips_definitions` with the three accounts, a ledger and a store in this folder."""
        given: dict[str, Any] = {
            "providers": self.providers(), "clips": self.clips(folder), "options": self.options(options),
        }  # fmt: skip
        return build_clips_definitions(name, prompts, **{**given, **more})

    def connect(self, definitions: dg.Definitions, folder: Path) -> dg.Definitions:
        """A project's own definitions, with every pipeline on this simulator: nothing reaches a provider or its store.

        Accounts keep their limits, pipelines their options but for the pace, assets their owners, tags and conditions;
        ledger and clips are in this folder. What else the definitions hold is as it was.

        Raises ValueError if they hold no pipeline.
        """
        specs = find_pipelines(definitions)
        if not specs:
            raise ValueError("these definitions hold no pipeline of build_clips_definitions or PixverseClipsComponent")
        resources = definitions.resources or {}
        ours = [self._rebuild(spec, definitions, folder) for spec in specs]
        made = dg.Definitions.merge(*ours)
        taken = _names(made)
        others = dg.Definitions(
            assets=[one for one in definitions.assets or () if not _asset_names(one) & taken["assets"]],
            asset_checks=[one for one in definitions.asset_checks or () if not _check_names(one) & taken["checks"]],
            jobs=[one for one in definitions.jobs or () if one.name not in taken["jobs"]],
            sensors=[one for one in definitions.sensors or () if one.name not in taken["sensors"]],
            schedules=[one for one in definitions.schedules or () if one.name not in taken["schedules"]],
            resources={key: one for key, one in resources.items() if key not in (made.resources or {})},
            executor=definitions.executor,
            loggers=definitions.loggers,
        )
        return dg.Definitions.merge(others, made)

    def _rebuild(self, spec: PipelineSpec, definitions: dg.Definitions, folder: Path) -> dg.Definitions:
        resources = definitions.resources or {}
        accounts: list[ProviderResource] = [resources[spec.provider_key(name)] for name in spec.providers]
        specs = {one.key: one for one in definitions.resolve_all_asset_specs()}
        return build_clips_definitions(
            spec.name,
            spec.table_asset or spec.pipeline.table,
            providers=[self._account(type(one), _settings(one)) for one in accounts],
            clips=self.clips(folder),
            options=self.options(spec.pipeline.options),
            get_asset_spec=lambda made: _as_it_was(made, specs[made.key]),
        )

    def _account(self, resource: type[ProviderResource], settings: Mapping[str, Any]) -> ProviderResource:
        address = f"{self.address}/{resource.PROVIDER.NAME}"
        own: dict[str, Any] = {"api_key": KEY, "base_url": address, "world": "simulator"}
        return resource(**{**settings, **own})

    def _ask(self, method: str, what: str, body: Mapping[str, Any] | None = None) -> Any:
        answer = self._http.request(method, f"/_simulator/{what}", json=body)
        if answer.is_client_error:
            raise ValueError(f"the simulator refuses {what}: {answer.json().get('error', answer.text)}")
        return answer.raise_for_status().json()


def _settings(resource: ProviderResource) -> dict[str, Any]:
    return {name: getattr(resource, name) for name in resource.model_fields_set}


def _as_it_was(made: dg.AssetSpec, before: dg.AssetSpec) -> dg.AssetSpec:
    """What a person may have changed of an asset's spec, on the new one."""
    changed: Any = made
    old: Any = before
    return changed.replace_attributes(
        owners=old.owners,
        tags=old.tags,
        group_name=old.group_name,
        automation_condition=old.automation_condition,
        description=old.description,
    )


def _names(definitions: dg.Definitions) -> dict[str, set[str]]:
    def named(found: Sequence[Any] | Any) -> set[str]:
        return {one.name for one in found or ()}

    return {
        "assets": {name for one in definitions.assets or () for name in _asset_names(one)},
        "checks": {name for one in definitions.asset_checks or () for name in _check_names(one)},
        "jobs": named(definitions.jobs),
        "sensors": named(definitions.sensors),
        "schedules": named(definitions.schedules),
    }


def _asset_names(asset: Any) -> set[str]:
    keys = [asset.key] if isinstance(asset, dg.AssetSpec | dg.SourceAsset) else getattr(asset, "keys", ())
    return {key.to_user_string() for key in keys}


def _check_names(check: Any) -> set[str]:
    return {f"{key.asset_key.to_user_string()} {key.name}" for key in check.check_keys}
