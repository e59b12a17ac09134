"""`PixverseClipsComponent`: a pipeline in YAML. It builds what `build_clips_definitions` builds, and nothing else."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import dagster as dg
from pydantic import Field, create_model, field_validator

from pixverse_dagster.core.errors import InvalidTable
from pixverse_dagster.core.values import FrozenModel, import_name
from pixverse_dagster.orchestration.environment import SIMULATOR_URL
from pixverse_dagster.orchestration.factory import build_clips_definitions
from pixverse_dagster.orchestration.io_managers.base import ClipIOManager
from pixverse_dagster.orchestration.io_managers.stores import build_io_manager
from pixverse_dagster.orchestration.resources import RESOURCES, LedgerResource, ProviderResource, key_variable
from pixverse_dagster.stages.options import PipelineOptions
from pixverse_dagster.storage import STORES, load_settings
from pixverse_dagster.tables import FileTable, SqlTable
from pixverse_dagster.tables.formats import format_names
from pixverse_dagster.transport.download import DownloadRules

_SAMPLES = Path(__file__).parents[1] / "samples" / "prompts.csv"


def _account_settings() -> type[FrozenModel]:
    """The fields of a provider resource, with the name of a variable in the place of the key."""
    fields: dict[str, Any] = {
        name: (field.annotation, field) for name, field in ProviderResource.model_fields.items() if name != "api_key"
    }
    variable = Field(default=None, description="The environment variable with the key; RUNWARE_API_KEY … if not given.")
    return create_model("AccountSettings", __base__=FrozenModel, api_key_variable=(str | None, variable), **fields)


AccountSettings = _account_settings()


class SqlPrompts(dg.Model, dg.Resolvable):
    """A query whose result is the prompt table."""

    url_variable: str = Field(description="The environment variable with the SQLAlchemy URL: it may hold a password.")
    query: str


class PromptSource(dg.Model, dg.Resolvable):
    """Where the rows come from: exactly one of these."""

    path: str | None = Field(
        default=None, description=f"A {format_names()} file beside the YAML, or a URL, s3:// included."
    )
    sql: SqlPrompts | None = None
    asset: str | None = Field(default=None, description="The key of an asset whose value is the rows, as `a/b`.")
    function: str | None = Field(default=None, description="`module:name` of a function that returns the rows.")


def _store_choice() -> type[FrozenModel]:
    """A field for each kind of store, with the settings of the store and of its client."""
    kinds: dict[str, Any] = {}
    for store in STORES:
        settings = load_settings(store)
        fields: dict[str, Any] = {name: (info.annotation, info) for name, info in settings.all_fields().items()}
        kinds[store] = (create_model(settings.__name__, __base__=FrozenModel, **fields) | None, None)
    return create_model("StoreChoice", __base__=FrozenModel, **kinds)


StoreChoice = _store_choice()
ProviderName = Literal[tuple(RESOURCES)]  # pyright: ignore[reportInvalidTypeForm, reportUnknownVariableType]


def _as_it_is(_context: Any, value: Any) -> Any:
    return value


def _with_templates(context: dg.ResolutionContext, value: Any) -> Any:
    """The settings as they were written, their templates resolved."""
    written = value.model_dump(exclude_unset=True) if isinstance(value, FrozenModel) else value
    return context.resolve_value(written)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


class ClipsScaffolder(dg.Scaffolder[Any]):
    """Writes a folder that works at once against the simulator, with the sample table."""

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        """Write `prompts.csv` and `defs.yaml`, or `component.py`."""
        (request.target_path / "prompts.csv").write_text(_SAMPLES.read_text())
        attributes: dict[str, Any] = {
            "name": "".join(letter if letter.isalnum() else "_" for letter in request.target_path.name),
            "prompts": {"path": "prompts.csv"},
            "simulator": SIMULATOR_URL,
            "store": {"local": {"base_dir": "clips"}},
            "options": {"labels": ["campaign", "language"]},
        }
        dg.scaffold_component(request, attributes)


@dg.scaffold_with(ClipsScaffolder)
class PixverseClipsComponent(dg.Component, dg.Model, dg.Resolvable):
    """A table of prompts in, stored PixVerse clips with lineage out, every clip paid for once.

    Gives the assets `<name>/prompts`, `<name>/tasks` and `<name>/clips`, their jobs, checks and sensors. Several
    instances stand side by side. With `simulator`, no key is read and nothing costs anything.
    """

    name: str = Field(description="The pipeline's name: the first part of its asset keys; letters, digits and '_'.")
    prompts: PromptSource = Field(description="The prompt table.")
    providers: Annotated[
        dict[str, Any],
        dg.Resolver(
            _as_it_is,
            model_field_type=dict[ProviderName, AccountSettings | None],
            description="The accounts that rows may name, with their limits; the key comes from the environment.",
        ),
    ] = Field(default_factory=dict[Any, Any])
    simulator: str | None = Field(
        default=None, description="The simulator's address: all providers are there, and private addresses are allowed."
    )
    store: Annotated[
        dict[str, Any],
        dg.Resolver(
            _with_templates,
            model_field_type=StoreChoice,
            description="Where clips are kept: exactly one kind of store, with its settings.",
        ),
    ]
    ledger_url_variable: str | None = Field(
        default=None,
        description="The environment variable with the ledger's PostgreSQL URL; SQLite in Dagster's storage without.",
    )
    # Any: Dagster would otherwise want to resolve every field of it by itself, and knows no bounds on numbers.
    options: Annotated[
        Any,
        dg.Resolver(
            _as_it_is, model_field_type=PipelineOptions, description="Defaults, labels, budget, prices, retry, pace …"
        ),
    ] = Field(default_factory=PipelineOptions)

    @field_validator("providers")
    @classmethod
    def _are_known(cls, providers: dict[str, Any]) -> dict[str, Any]:
        if unknown := providers.keys() - RESOURCES.keys():
            raise ValueError(f"{min(unknown)!r} is no provider; there are {', '.join(RESOURCES)}")
        return providers

    def get_asset_spec(self, spec: dg.AssetSpec) -> dg.AssetSpec:
        """The spec of one of the assets; override it to add owners, tags, conditions or kinds. Keep the key."""
        return spec

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """What `build_clips_definitions` gives for these attributes."""
        options: PipelineOptions = self.options
        if self.simulator:
            local = options.download.model_copy(update={"allow_private_network": True})
            base = options.image_base or f"{self.simulator}/samples/"
            options = options.model_copy(update={"download": local, "image_base": base})
        return build_clips_definitions(
            self.name,
            self._table(context.path, options.download),
            providers=self._accounts(),
            clips=self._io_manager(context.project_root),
            options=options,
            get_asset_spec=self.get_asset_spec,
        )

    def _table(self, folder: Path, rules: DownloadRules) -> Any:
        source = self.prompts
        chosen = [name for name in ("path", "sql", "asset", "function") if getattr(source, name) is not None]
        if len(chosen) != 1:
            raise InvalidTable(f"prompts of {self.name!r}: give exactly one of path, sql, asset and function")
        if source.sql:
            return SqlTable(_variable(source.sql.url_variable, f"prompts of {self.name!r}"), source.sql.query)
        if source.asset:
            return dg.AssetKey.from_user_string(source.asset)
        if source.function:
            return import_name(source.function)
        path = source.path or ""
        return FileTable(path if "://" in path else folder / path, rules=rules)

    def _accounts(self) -> list[ProviderResource]:
        names = self.providers or dict.fromkeys(RESOURCES if self.simulator else ())
        accounts: list[ProviderResource] = []
        for name, given in names.items():
            settings: dict[str, Any] = (
                given.model_dump(exclude_unset=True) if isinstance(given, FrozenModel) else dict(given or {})
            )
            variable = settings.pop("api_key_variable", None) or key_variable(name)
            settings["api_key"] = "simulator" if self.simulator else dg.EnvVar(variable)
            if self.simulator:
                settings["base_url"] = f"{self.simulator.rstrip('/')}/{name}"
            accounts.append(RESOURCES[name](**settings))
        return accounts

    def _io_manager(self, folder: Path) -> ClipIOManager:
        variable = self.ledger_url_variable
        ledger = LedgerResource(url=dg.EnvVar(variable) if variable else None)
        chosen = {store: given for store, given in self.store.items() if given is not None}
        if len(chosen) != 1:
            raise InvalidTable(f"store of {self.name!r}: give exactly one of {' and '.join(STORES)}")
        (store, given), *_ = chosen.items()
        settings = load_settings(store)
        own = {name: value for name, value in given.items() if name in settings.model_fields}
        client = {name: value for name, value in given.items() if name not in settings.model_fields}
        return build_io_manager(settings.model_validate(own).below(folder), client, ledger)


def _variable(name: str, who: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise InvalidTable(f"{who}: the environment variable {name} is not set")
    return value
