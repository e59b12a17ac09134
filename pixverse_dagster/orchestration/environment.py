"""The variables that configure this project's own pipeline: one table for the definitions, the commands and the page.

Every option of a pipeline has a variable of its name, every setting of a store one of the store's and its own, and
every provider one for its key. What else there is stands in `ProjectSettings`.
"""

import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args, get_origin

from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from pixverse_dagster.core.errors import InvalidTable
from pixverse_dagster.core.values import FrozenModel
from pixverse_dagster.orchestration.resources import RESOURCES, key_variable
from pixverse_dagster.stages.options import PipelineOptions
from pixverse_dagster.storage import STORES, load_settings
from pixverse_dagster.storage.base import FromVariable, StoreSettings
from pixverse_dagster.storage.local import LocalSettings

PREFIX = "PIXVERSE_"
SIMULATOR_URL = "http://127.0.0.1:8765"
_LABELS = ("campaign", "language")
"""Of the sample table."""

M = TypeVar("M", bound=BaseModel)


class ProjectSettings(FrozenModel):
    """What the project's own pipeline is made with, besides its options, its store and its accounts' keys."""

    mode: Literal["simulator", "live"] = Field(
        default="simulator",
        description="`simulator`, or `live`: the decision to spend money at the providers whose keys are set.",
    )
    simulator_url: str = Field(default=SIMULATOR_URL, description="Where the simulator is.")
    name: str = Field(default="demo", description="The pipeline's name.")
    prompts: str = Field(default="", description="The prompt table: a path or URL. The sample table if not given.")
    rows: int = Field(default=0, ge=0, description="Only the first so many rows; 0 means all.")
    model: str = Field(default="", description="The default model, for rows that name none.")
    ledger_url: str = Field(
        default="", description="PostgreSQL for the ledger. SQLite in the Dagster home if not given."
    )
    accounts: Mapping[str, Mapping[str, Any]] = Field(
        default_factory=dict, description="By provider: `max_open_tasks`, `submits_per_minute` … of its resource."
    )


@dataclass(frozen=True)
class Variable:
    """One variable of the environment: what it is for, and what holds where it is not set."""

    name: str
    meaning: str
    default: str = ""


def variables() -> Iterator[Variable]:
    """Every variable that the project reads, in the order in which a person would ask."""
    yield from _of_model(ProjectSettings)
    for provider in RESOURCES:
        yield Variable(key_variable(provider), f"The key of the account at {provider}, in live mode.")
    for store in STORES:
        for model in _models_of(load_settings(store)):
            yield from _of_model(model, f"{store}_")
    yield from _of_model(PipelineOptions)


def read_project() -> ProjectSettings:
    """The project's settings as the environment has them now. Raises InvalidTable with the variable's name."""
    settings = _read(ProjectSettings)
    if unknown := settings.accounts.keys() - RESOURCES.keys():
        raise InvalidTable(f"PIXVERSE_ACCOUNTS names {min(unknown)!r}, which is no provider. Nothing was sent")
    return settings


def read_options(project: ProjectSettings) -> PipelineOptions:
    """The pipeline's options. In the simulator's mode its address may be fetched."""
    options = _read(PipelineOptions)
    changes: dict[str, Any] = {}
    if "labels" not in options.model_fields_set:
        changes["labels"] = _LABELS
    if project.model:
        changes["defaults"] = {**options.defaults, "model": project.model}
    if project.mode == "simulator":
        changes["download"] = options.download.model_copy(update={"allow_private_network": True})
    return options.model_copy(update=changes)


def read_store() -> tuple[StoreSettings, dict[str, Any]]:
    """The store whose variables are set, and what its client is made with: `clips` in the Dagster home by default.

    Where those of several are, the directory gives way.
    """
    for store in reversed(list(STORES)):
        settings = load_settings(store)
        names = _names(settings, f"{store}_")
        if all(_text(names[field]) for field, info in settings.model_fields.items() if info.is_required()):
            client = settings.CLIENT_SETTINGS
            return _read(settings, f"{store}_"), _read(client, f"{store}_").model_dump() if client else {}
    return LocalSettings(base_dir="clips").below(Path(os.environ.get("DAGSTER_HOME", "."))), {}


def _models_of(settings: type[StoreSettings]) -> Sequence[type[FrozenModel]]:
    return [settings, *([settings.CLIENT_SETTINGS] if settings.CLIENT_SETTINGS else [])]


def _of_model(model: type[BaseModel], within: str = "") -> Iterator[Variable]:
    for field, name in _names(model, within).items():
        info = model.model_fields[field]
        default = info.default if isinstance(info.default, str | int | float) else ""
        written = str(default).lower() if isinstance(default, bool) else str(default)
        yield Variable(name, f"{info.description or ''}{_form(info)}", written)


def _names(model: type[BaseModel], within: str = "") -> dict[str, str]:
    """The variable of each field."""
    return {
        field: next((item.name for item in info.metadata if isinstance(item, FromVariable)), "")
        or f"{PREFIX}{within}{field}".upper()
        for field, info in model.model_fields.items()
    }


def _read(model: type[M], within: str = "") -> M:
    """A model out of the variables that are set. Raises InvalidTable, naming the variable."""
    names = _names(model, within)
    given = {
        field: _value(name, text, model.model_fields[field]) for field, name in names.items() if (text := _text(name))
    }
    try:
        return model.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field, *inner = [str(part) for part in first["loc"]]
        where = f"{names[field]}{''.join(f', {part}' for part in inner)}"
        message = first["msg"].replace("Input should be", "must be")
        raise InvalidTable(f"{where}: {message}. Nothing was sent") from None


def _text(name: str) -> str:
    return os.environ.get(name, "").strip()


def _value(name: str, text: str, info: FieldInfo) -> Any:
    """A variable's text as the field takes it: JSON where that is more than a word, a list also by commas."""
    if not _is_structured(info):
        return text
    if _is_words(info) and not text.startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidTable(f"{name} is not JSON ({error}). Nothing was sent") from None


def _is_list(info: FieldInfo) -> bool:
    return get_origin(info.annotation) in {Sequence, list, tuple, Collection}


def _is_words(info: FieldInfo) -> bool:
    """Whether the field is a list of words, which may be written without JSON."""
    return _is_list(info) and get_args(info.annotation)[:1] == (str,)


def _is_structured(info: FieldInfo) -> bool:
    schema: dict[str, Any] = TypeAdapter(cast("Any", info.annotation)).json_schema()
    return _is_list(info) or schema.get("type") == "object"


def _form(info: FieldInfo) -> str:
    """How a value of several parts is written."""
    parts = "JSON, or words separated by commas" if _is_words(info) else "JSON"
    return f" {parts[0].upper()}{parts[1:]}." if _is_structured(info) else ""
