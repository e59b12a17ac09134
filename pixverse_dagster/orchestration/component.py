"""`PixverseClipsComponent`: a pipeline in YAML. It builds what `build_clips_definitions` builds, and nothing else."""

import os
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import dagster as dg
from pydantic import Field, create_model

from pixverse_dagster.core.errors import InvalidTable
from pixverse_dagster.core.values import FrozenModel
from pixverse_dagster.orchestration.factory import build_clips_definitions
from pixverse_dagster.orchestration.io_managers.base import ClipIOManager
from pixverse_dagster.orchestration.io_managers.local import LocalClipIOManager
from pixverse_dagster.orchestration.resources import RESOURCES, LedgerResource, ProviderResource, key_variable
from pixverse_dagster.stages.options import PipelineOptions
from pixverse_dagster.tables import FileTable, SqlTable
from pixverse_dagster.transport.download import DownloadRules

_SIMULATOR_URL = "http://127.0.0.1:8765"


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
        default=None, description="A .csv, .jsonl, .ndjson or .parquet file beside the YAML, or a URL, s3:// included."
    )
    sql: SqlPrompts | None = None
    asset: str | None = Field(default=None, description="The key of an asset whose value is the rows, as `a/b`.")
    function: str | None = Field(default=None, description="`module:name` of a function that returns the rows.")


class LocalStoreSettings(dg.Model, dg.Resolvable):
    """Clips in a folder."""

    base_dir: str = Field(description="The folder; below the project's root if it is relative.")


class S3StoreSettings(dg.Model, dg.Resolvable):
    """Clips in a bucket. Credentials come from where AWS's own tools find them."""

    bucket: str
    prefix: str = ""
    region_name: str | None = None
    endpoint_url: str | None = Field(default=None, description="Of an S3-compatible store.")


class StoreSettings(dg.Model, dg.Resolvable):
    """Where clips are kept: exactly one of these."""

    local: LocalStoreSettings | None = None
    s3: S3StoreSettings | None = None


def _as_it_is(_context: Any, value: Any) -> Any:
    return value


class ClipsScaffolder(dg.Scaffolder[Any]):
    """Writes a folder that works at once against the simulator, with the sample table."""

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        """Write `prompts.csv` and `defs.yaml`, or `component.py`."""
        (request.target_path / "prompts.csv").write_text(_SAMPLES.read_text())
        attributes: dict[str, Any] = {
            "name": "".join(letter if letter.isalnum() else "_" for letter in request.target_path.name),
            "prompts": {"path": "prompts.csv"},
            "simulator": _SIMULATOR_URL,
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
        dict[Literal["highway", "runware", "pixwith"], Any],
        dg.Resolver(
            _as_it_is,
            model_field_type=dict[Literal["highway", "runware", "pixwith"], AccountSettings | None],
            description="The accounts that rows may name, with their limits; the key comes from the environment.",
        ),
    ] = Field(default_factory=dict[Any, Any])
    simulator: str | None = Field(
        default=None, description="The simulator's address: all providers are there, and private addresses are allowed."
    )
    store: StoreSettings = Field(description="Where clips are kept.")
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
            module, _, name = source.function.partition(":")
            return getattr(import_module(module), name)
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
        if (self.store.local is None) == (self.store.s3 is None):
            raise InvalidTable(f"store of {self.name!r}: give exactly one of local and s3")
        if self.store.local:
            return LocalClipIOManager(base_dir=str(folder / self.store.local.base_dir), ledger=ledger)
        from dagster_aws.s3 import S3Resource  # noqa: PLC0415 - 2 s and 50 MB that a local store need not pay

        from pixverse_dagster.orchestration.io_managers.s3 import S3ClipIOManager  # noqa: PLC0415 - as above

        given = self.store.s3
        assert given is not None  # noqa: S101 - checked above
        s3 = S3Resource(region_name=given.region_name, endpoint_url=given.endpoint_url)
        return S3ClipIOManager(s3=s3, bucket=given.bucket, prefix=given.prefix, ledger=ledger)


def _variable(name: str, who: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise InvalidTable(f"{who}: the environment variable {name} is not set")
    return value
