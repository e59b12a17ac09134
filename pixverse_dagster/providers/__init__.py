"""Providers: they build HTTP requests and read HTTP responses, and send nothing. May import: core.

A provider is a file here, or a folder if it has several models, and a line in PROVIDERS. To try it without its API, the
simulator has a file for each as well: `simulator/apis/`.
"""

from __future__ import annotations

from pixverse_dagster.core.request import Request
from pixverse_dagster.core.values import import_name
from pixverse_dagster.providers.base import Provider

PROVIDERS: tuple[type[Provider], ...] = tuple(
    import_name(name)
    for name in (
        "pixverse_dagster.providers.highway.protocol:Highway",
        "pixverse_dagster.providers.runware.protocol:Runware",
        "pixverse_dagster.providers.pixwith:Pixwith",
    )
)
"""Models, prices, resources, components, variables, commands and documents derive from this."""
MODELS: dict[str, type[Request]] = {model.MODEL: model for provider in PROVIDERS for model in provider.MODELS}
"""Every model by its name, as the `model` column of a table has it."""
