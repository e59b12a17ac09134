"""Providers: they build HTTP requests and read HTTP responses, and send nothing. May import: core.

A provider is a file here, or a folder if it has several models, and a line in `_NAMES`.
"""

from __future__ import annotations

from pixverse_dagster.core.request import Request
from pixverse_dagster.core.values import import_name
from pixverse_dagster.providers.base import Provider

_NAMES = (
    "pixverse_dagster.providers.highway.protocol:Highway",
    "pixverse_dagster.providers.runware.protocol:Runware",
    "pixverse_dagster.providers.pixwith:Pixwith",
)
PROVIDERS: tuple[type[Provider], ...] = tuple(map(import_name, _NAMES))
"""Models, prices, resources, components, variables, commands and documents derive from this."""
MODELS: dict[str, type[Request]] = {model.MODEL: model for provider in PROVIDERS for model in provider.MODELS}
"""Every model by its name, as the `model` column of a table has it."""
