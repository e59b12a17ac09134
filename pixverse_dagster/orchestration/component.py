"""`PixverseClipsComponent`: a pipeline in YAML. It builds what `build_clips_definitions` builds, and nothing else."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import dagster as dg
from pydantic import BaseModel, Field, WithJsonSchema, create_model, field_validator

from pixverse_dagster.core.errors import InvalidTable
from pixverse_dagster.core.values import FrozenModel, import_name
from pixverse_dagster.orchestration.environment import SIMULATOR_URL
from pixverse_dagster.orchestration.factory import build_clips_definitions
from pixverse_dagster.orchestration.io_managers.base import ClipIOManager
from pixverse_dagster.orchestration.io_managers.stores import build_io_manager
from pixverse_dagster.orchestration.resources import RESOURCES, LedgerResource, ProviderResource, key_variable
from pixverse_dagster.orchestration.scaffold import write_test
from pixverse_dagster.orchestration.templates import env_variable, refuse_templates, resolve, templated_schema
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
    key = Field(default=None, repr=False, description='The account\'s key, as "{{ env.RUNWARE_API_KEY }}".')
    variable = Field(default=None, description="The environment variable with the key; RUNWARE_API_KEY … if not given.")
    fields |= {"api_key": (str | None, key), "api_key_variable": (str | None, variable)}
    return create_model("AccountSettings", __base__=FrozenModel, **fields)


AccountSettings = _account_settings()


def _text(description: str) -> Any:
    """How a text of the YAML is read: a variable is its text, and one that is not set is named."""
    return dg.Resolver(resolve, model_field_type=str | None, description=description, inject_before_resolve=False)


class SqlPrompts(dg.Model, dg.Resolvable):
    """A query whose result is the prompt table."""

    url: Annotated[str | None, _text('The database\'s SQLAlchemy URL, as "{{ env.FILMS_URL }}".')] = Field(
        default=None, repr=False
    )
    url_variable: str | None = Field(
        default=None, description="The environment variable with that URL, in the place of `url`."
    )
    query: str


class PromptSource(dg.Model, dg.Resolvable):
    """Where the rows come from: exactly one of these."""

    path: Annotated[str | None, _text(f"A {format_names()} file beside the YAML, or a URL, s3:// included.")] = None
    sql: SqlPrompts | None = None
    asset: Annotated[str | None, _text("The key of an asset whose value is the rows, as `a/b`.")] = None
    function: Annotated[str | None, _text("`module:name` of a function that returns the rows.")] = None


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


def _schema_of(model: type[BaseModel]) -> Any:
    """The type of a field of the YAML: editors see the model's schema, and templates may stand for its values."""
    return Annotated[dict[str, Any], WithJsonSchema(templated_schema(model))]


def _as_it_is(_context: Any, value: Any) -> Any:
    return value


def _resolve_options(context: dg.ResolutionContext, value: Any) -> PipelineOptions:
    return value if isinstance(value, PipelineOptions) else PipelineOptions.model_validate(resolve(context, value))


def _resolve_store(context: dg.ResolutionContext, value: Any) -> dict[str, Any]:
    return StoreChoice.model_validate(resolve(context, value)).model_dump(exclude_unset=True)


def _resolve_accounts(context: dg.ResolutionContext, value: Mapping[str, Any]) -> dict[str, Any]:
    """The accounts' settings. A key stays the name of its variable: its value is no part of what Dagster shows."""
    accounts: dict[str, Any] = {}
    for name, given in value.items():
        settings = dict(given or {})
        key = settings.pop("api_key", None)
        settings = AccountSettings.model_validate(resolve(context, settings)).model_dump(exclude_unset=True)
        accounts[name] = settings | ({} if key is None else {"api_key": key})
    return accounts


class ClipsScaffolder(dg.Scaffolder[Any]):
    """Writes a folder that works at once against the simulator, with the sample table."""

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        """Write `prompts.csv` and `defs.yaml`, or `component.py`; and a test of it, beside the project's own."""
        (request.target_path / "prompts.csv").write_text(_SAMPLES.read_text())
        attributes: dict[str, Any] = {
            "name": "".join(letter if letter.isalnum() else "_" for letter in request.target_path.name),
            "prompts": {"path": "prompts.csv"},
            "simulator": SIMULATOR_URL,
            "store": {"local": {"base_dir": "clips"}},
            "options": {"labels": ["campaign", "language"]},
        }
        dg.scaffold_component(request, attributes)
        if request.project_root:
            write_test(request.project_root / "tests", attributes["name"])
        if request.scaffold_format == "yaml":
            file = request.target_path if request.append else request.target_path / "defs.yaml"
            # Where `dg list envs` and `dg check yaml --validate-requirements` look for what a project needs.
            with file.open("a") as written:
                written.write("requirements:\n  env:\n" + "".join(f"  - {key_variable(name)}\n" for name in RESOURCES))


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
            _resolve_accounts,
            model_field_type=dict[ProviderName, _schema_of(AccountSettings) | None],
            description="The accounts that rows may name, with their limits; the key comes from the environment.",
        ),
    ] = Field(default_factory=dict[Any, Any])
    simulator: str | None = Field(
        default=None, description="The simulator's address: all providers are there, and private addresses are allowed."
    )
    store: Annotated[
        dict[str, Any],
        dg.Resolver(
            _resolve_store,
            model_field_type=_schema_of(StoreChoice),
            description="Where clips are kept: exactly one kind of store, with its settings.",
        ),
    ]
    ledger_url_variable: str | None = Field(
        default=None,
        description="The environment variable with the ledger's PostgreSQL URL; SQLite in Dagster's storage without.",
    )
    ledger_url: Annotated[
        Any,
        dg.Resolver(
            _as_it_is,
            model_field_type=str | None,
            inject_before_resolve=False,
            description='The ledger\'s PostgreSQL URL, as "{{ env.PIXVERSE_LEDGER_URL }}".',
        ),
    ] = None
    marks: Annotated[
        str | None,
        _text("The table of marks that the gallery exports, beside the YAML or a URL; the same as `options.marks`."),
    ] = None
    gallery: bool | None = Field(
        default=None,
        description="An asset `<name>/gallery`, the page of the clips, renewed as they come; as `options.gallery`.",
    )
    # Any: Dagster would otherwise want to resolve every field of it by itself, and knows no bounds on numbers.
    options: Annotated[
        Any,
        dg.Resolver(
            _resolve_options,
            model_field_type=_schema_of(PipelineOptions),
            description="Defaults, labels, budget, prices, retry, pace …",
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
        refuse_templates([self.name, self.simulator, self.prompts, self.marks, options, self.store])
        if self.simulator:
            local = options.download.model_copy(update={"allow_private_network": True})
            options = options.model_copy(update={"download": local})
        options = self._with_gallery(options, context.path)
        return build_clips_definitions(
            self.name,
            self._table(context.path, options.download),
            providers=self._accounts(),
            clips=self._io_manager(context.project_root),
            options=options,
            get_asset_spec=self.get_asset_spec,
        )

    def _with_gallery(self, options: PipelineOptions, folder: Path) -> PipelineOptions:
        """The options with what stands beside them; a file of marks is beside the YAML."""
        marks = self.marks if self.marks is not None else options.marks
        gallery = self.gallery if self.gallery is not None else options.gallery
        if marks is not None and "://" not in marks:
            marks = str(folder / marks)
        return options.model_copy(update={"marks": marks, "gallery": gallery})

    def _table(self, folder: Path, rules: DownloadRules) -> Any:
        source = self.prompts
        chosen = [name for name in ("path", "sql", "asset", "function") if getattr(source, name) is not None]
        if len(chosen) != 1:
            raise InvalidTable(f"prompts of {self.name!r}: give exactly one of path, sql, asset and function")
        if source.sql:
            return SqlTable(_database_url(source.sql, f"prompts of {self.name!r}"), source.sql.query)
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
            key, variable = settings.pop("api_key", None), settings.pop("api_key_variable", None)
            variable = variable or env_variable(key) or ("" if key else key_variable(name))
            if not variable:
                raise InvalidTable(
                    f"providers of {self.name!r}: a key does not stand in a file: write "
                    f'api_key: "{{{{ env.{key_variable(name)} }}}}" and set that variable. Nothing was sent'
                )
            settings["api_key"] = "simulator" if self.simulator else dg.EnvVar(variable)
            if self.simulator:
                settings["base_url"] = f"{self.simulator.rstrip('/')}/{name}"
            accounts.append(RESOURCES[name](**settings))
        return accounts

    def _io_manager(self, folder: Path) -> ClipIOManager:
        variable = self.ledger_url_variable or env_variable(self.ledger_url)
        if not variable:
            refuse_templates(self.ledger_url)
        ledger = LedgerResource(url=dg.EnvVar(variable) if variable else self.ledger_url)
        chosen = {store: given for store, given in self.store.items() if given is not None}
        if len(chosen) != 1:
            raise InvalidTable(f"store of {self.name!r}: give exactly one of {' and '.join(STORES)}")
        (store, given), *_ = chosen.items()
        settings = load_settings(store)
        own = {name: value for name, value in given.items() if name in settings.model_fields}
        client = {name: value for name, value in given.items() if name not in settings.model_fields}
        return build_io_manager(settings.model_validate(own).below(folder), client, ledger)


def _database_url(sql: SqlPrompts, who: str) -> str:
    if (sql.url is None) == (sql.url_variable is None):
        raise InvalidTable(f'{who}: give sql either url, as "{{{{ env.NAME }}}}", or url_variable, the name alone')
    if sql.url_variable is None:
        return sql.url or ""
    value = os.environ.get(sql.url_variable, "")
    if not value:
        raise InvalidTable(f"{who}: the environment variable {sql.url_variable} is not set")
    return value
