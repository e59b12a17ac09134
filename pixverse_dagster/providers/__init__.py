"""Providers: they build HTTP requests and read HTTP responses, and send nothing. May import: core."""

from __future__ import annotations

from pixverse_dagster.core.request import Request
from pixverse_dagster.providers.base import Provider
from pixverse_dagster.providers.highway.protocol import Highway
from pixverse_dagster.providers.pixwith import Pixwith
from pixverse_dagster.providers.runware.protocol import Runware

PROVIDERS: tuple[type[Provider], ...] = (Highway, Runware, Pixwith)
MODELS: dict[str, type[Request]] = {model.MODEL: model for provider in PROVIDERS for model in provider.MODELS}
