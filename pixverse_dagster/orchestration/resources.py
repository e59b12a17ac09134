"""Dagster resources: they turn configuration into clients that know nothing of Dagster."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, cast, get_args

import dagster as dg
from pydantic import Field, PrivateAttr, field_validator

from pixverse_dagster.core.errors import Unauthorized
from pixverse_dagster.core.manifest import World
from pixverse_dagster.ledger.engine import sqlite_url
from pixverse_dagster.ledger.ledger import Ledger, open_ledger
from pixverse_dagster.orchestration.set_up import read_itself, read_values
from pixverse_dagster.policy.budget import Budget
from pixverse_dagster.providers import PROVIDERS
from pixverse_dagster.providers.base import Provider, is_address
from pixverse_dagster.providers.highway.protocol import Highway
from pixverse_dagster.providers.pixwith import Pixwith
from pixverse_dagster.providers.runware.protocol import Runware
from pixverse_dagster.transport.client import ProviderClient
from pixverse_dagster.transport.logs import get_logger
from pixverse_dagster.transport.sender import HttpSender, Limits

_log = get_logger()

LEDGER_FILE = "pixverse/ledger.db"
_TEMPORARY_HOME = ".tmp_dagster_home_"
"""What `dagster dev` and `dg launch` make where DAGSTER_HOME is not set, and delete when they end."""


class ProviderResource(dg.ConfigurableResource, Limits):  # pyright: ignore[reportMissingTypeArgument]
    """What every provider resource has: the account's key, and how hard it is driven."""

    PROVIDER: ClassVar[type[Provider]]

    api_key: str = Field(repr=False, description="The account's API key; give it as EnvVar.")
    base_url: str | None = Field(default=None, description="The provider's address, where it is not the public one.")
    max_open_tasks: int | None = Field(
        default=None,
        ge=1,
        description="Tasks under way at the provider at once, over every process and pipeline of the ledger.",
    )

    account: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9._-]*$",
        description="Your name for the account; it outlives its API keys. `live` or `simulator` if not given.",
    )
    # A Literal is no type of Dagster's configuration.
    world: str = Field(
        default="",
        pattern=f"^({'|'.join(get_args(World))})?$",
        description="Where the address does not tell: `simulator` for one on another machine, `live` for a way to the "
        "provider that begins on this one. What was made in one world does not count in the other.",
    )
    max_usd_per_day: float | None = Field(
        default=None, ge=0, description="What may be spent at the account per UTC day, by every pipeline of the ledger."
    )
    max_usd: float | None = Field(default=None, ge=0, description="What may be spent at the account in all.")

    @field_validator("account")
    @classmethod
    def _is_no_world(cls, account: str) -> str:
        if account in get_args(World):
            raise ValueError(f"{account!r} is what an account without a name is called: give another one")
        return account

    @classmethod
    def _is_dagster_maintained(cls) -> bool:
        return False

    _unusable: str = PrivateAttr(default="")
    _no_address: bool = PrivateAttr(default=False)
    _definition: dg.ResourceDefinition | None = PrivateAttr(default=None)

    def get_resource_definition(self) -> Any:
        """What Dagster sets up: a variable that is not set, or a value that is wrong, stops this account alone."""
        if self._definition is None:
            secrets = {"api_key", *(["base_url"] if "@" in (self.base_url or "") else [])}
            self._definition = read_itself(super().get_resource_definition(), type(self), self._set_up, secrets)
        return self._definition

    @classmethod
    def _set_up(cls, written: dict[str, Any]) -> "ProviderResource":
        """The resource with these values; where some are wrong, one without them that says so and sends nothing."""
        made, wrong = read_values(cls, written)
        if made is not None:
            return made
        left = {name: value for name, value in written.items() if name not in wrong}
        if len(left) == len(written):
            raise dg.DagsterInvalidDefinitionError(f"the resource for {cls.PROVIDER.NAME}: {'; '.join(wrong.values())}")
        made = cls._set_up({"api_key": "", **left})
        named = "; ".join(f"{_WORDS.get(name, name)} for {cls.PROVIDER.NAME} {why}" for name, why in wrong.items())
        # Of this very class; a field of this name would be a setting.
        made._unusable = f"{named}. Nothing was sent; set it"  # noqa: SLF001
        made._no_address = "base_url" in wrong  # noqa: SLF001
        return made

    def get_client(self, worlds: Mapping[str, World] | None = None) -> ProviderClient:
        """A client for this account. Close it after use.

        With a key that is not set, is empty or is no key at all, or an address that is none, the client says so at
        every call, and sends nothing: the sensors and runs of the other accounts go on. Where the address is not known,
        the account is of the world that it was of before, by `worlds`.
        """
        limits = Limits(**{name: getattr(self, name) for name in Limits.model_fields})
        provider, unusable, has_address = self._open_provider()
        if unusable:
            _warn_once(unusable)
        world = cast("World | None", self.world or None)
        return ProviderClient(
            provider,
            HttpSender(limits),
            self.max_open_tasks,
            self.account,
            Budget(per_day_usd=self.max_usd_per_day, total_usd=self.max_usd),
            world if has_address or world else (worlds or {}).get(self.PROVIDER.NAME),
            unusable,
        )

    def _open_provider(self) -> tuple[Provider, str, bool]:
        """The provider; why it cannot be used, if it cannot; whether its address is known."""
        name, made, key, unusable = self.PROVIDER.NAME, self.PROVIDER, self.api_key, self._unusable
        if isinstance(key, dg.EnvVar):  # outside Dagster, which would have read it
            key = key.get_value() or ""
        has_address = not self._no_address and is_address(self.base_url or self.PROVIDER.BASE_URL)
        if not has_address and not self._no_address:
            unusable = unusable or f"the base_url for {name} is no http(s) address. Nothing was sent; correct it"
        address = self.base_url if has_address else None
        if not (unusable or key.strip()):
            unusable = f"the API key for {name} is empty. Nothing was sent; set the key"
        if unusable:
            return made("", address), unusable, has_address
        try:
            return made(key.strip(), address), "", has_address
        except Unauthorized as error:
            return made("", address), str(error), has_address


_WORDS = {"api_key": "the API key", "base_url": "the base_url"}


@cache
def _warn_once(text: str) -> None:
    _log.warning("%s. Its tasks and rows wait; those of the other accounts go on", text)


class HighwayResource(ProviderResource):
    """HighwayAPI: PixVerse v4.5 and v6 image-to-video, C1 reference-to-video."""

    PROVIDER = Highway


class RunwareResource(ProviderResource):
    """Runware: PixVerse v4.5 from text and from frames."""

    PROVIDER = Runware


class PixwithResource(ProviderResource):
    """Pixwith: PixVerse v5 from text and from an image."""

    PROVIDER = Pixwith


# Written out for type checkers, because users name them in Python; any other provider's is made from ProviderResource.
_WRITTEN: tuple[type[ProviderResource], ...] = (HighwayResource, RunwareResource, PixwithResource)


def _resource_of(provider: type[Provider]) -> type[ProviderResource]:
    """The class above, or, of a provider that has none there, one that is made in the same way."""
    written = next((one for one in _WRITTEN if one.PROVIDER is provider), None)
    body = {"PROVIDER": provider, "__doc__": provider.__doc__, "__module__": __name__}
    return written or type(f"{provider.__name__}Resource", (ProviderResource,), body)


RESOURCES: Mapping[str, type[ProviderResource]] = {provider.NAME: _resource_of(provider) for provider in PROVIDERS}
"""Every provider's resource, by the provider's name."""


def key_variable(provider: str) -> str:
    """The environment variable that a provider's key is looked for in, unless another is named."""
    return f"{provider.upper()}_API_KEY"


class LedgerResource(dg.ConfigurableResource):  # pyright: ignore[reportMissingTypeArgument]
    """The ledger's database.

    SQLite in the Dagster instance's storage by default, PostgreSQL by URL for several machines.
    """

    url: str | None = Field(
        default=None, repr=False, description="SQLAlchemy URL, for example postgresql+psycopg2://…; give it as EnvVar."
    )
    _default_url: str | None = PrivateAttr(default=None)

    @classmethod
    def _is_dagster_maintained(cls) -> bool:
        return False

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Remember where the instance keeps its storage."""
        if context.instance is not None:
            self._default_url = default_ledger_url(context.instance)

    def get_ledger(self, instance: dg.DagsterInstance | None = None) -> Ledger:
        """The ledger; created or migrated on first use. Outside a run, give the instance or configure a URL."""
        return open_ledger(self.get_url(instance))

    def get_url(self, instance: dg.DagsterInstance | None = None) -> str:
        """The URL of the ledger's database, as `get_ledger` takes it. It may hold a password: show it to nobody."""
        url = self.url or (default_ledger_url(instance) if instance else self._default_url)
        if not url:
            raise dg.DagsterInvariantViolationError("the ledger has neither a url nor a Dagster instance to live in")
        return url

    def is_temporary(self, instance: dg.DagsterInstance) -> bool:
        """Whether the ledger goes with the process: it lives in an instance that is deleted in the end."""
        folder = Path(instance.storage_directory())
        deleted = any(part.startswith(_TEMPORARY_HOME) for part in folder.parts)
        return not self.url and (instance.is_ephemeral or deleted)


def default_ledger_url(instance: dg.DagsterInstance) -> str:
    """The SQLite ledger in the instance's storage directory."""
    return sqlite_url(Path(instance.storage_directory()) / LEDGER_FILE)
