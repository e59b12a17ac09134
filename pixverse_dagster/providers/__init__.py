"""The providers and their models. A new provider is one module and one line in PROVIDERS."""

from __future__ import annotations

from pixverse_dagster.models import Request
from pixverse_dagster.providers.base import Provider
from pixverse_dagster.providers.highway import Highway
from pixverse_dagster.providers.pixwith import Pixwith
from pixverse_dagster.providers.runware import Runware

PROVIDERS: tuple[type[Provider], ...] = (Highway, Runware, Pixwith)
MODELS: dict[str, type[Request]] = {model.MODEL: model for provider in PROVIDERS for model in provider.MODELS}
