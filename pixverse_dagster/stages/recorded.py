"""Recording what a session sends and is answered, and the free calls that settle what is assumed of a provider."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pixverse_dagster.core.errors import PixverseError
from pixverse_dagster.core.text import shorten
from pixverse_dagster.providers.base import TaskRef
from pixverse_dagster.stages.session import Session
from pixverse_dagster.transport.client import ProviderClient
from pixverse_dagster.transport.recording import Recorder

_ASK_SECONDS = 10.0
_WRONG_KEY = "wrong-key-on-purpose"


def record_to(session: Session, folder: str | Path) -> Recorder:
    """Keep every request and answer of the session in a folder, with permissions cut."""
    recorder = Recorder(Path(folder))
    for client in session.clients.values():
        client.sender.recorder = recorder
    session.downloader.recorder = recorder
    return recorder


def ask_oddities(client: ProviderClient) -> dict[str, str]:
    """Make the free calls whose answers nobody knows for certain; what came of each, in a few words.

    The account with its key and with a wrong one, its prices, and a task that does not exist. Nothing is kept of them
    but by a recorder.
    """
    if client.unusable:
        return {}
    provider, task = client.provider, TaskRef(str(uuid.uuid4()))
    other = type(provider)(_WRONG_KEY, provider.base_url)
    calls: dict[str, Callable[[float], Any]] = {
        "the account": client.read_account,
        "the account, with a wrong key": lambda until: _read(client, other, until),
        "its prices": client.read_prices,
        "a task that does not exist": lambda until: client.poll([task], until)[task.task_id],
    }
    absent = {"the account", "the account, with a wrong key"} if provider.ask_account() is None else set[str]()
    absent |= {"its prices"} if provider.ask_prices() is None else set()
    return {what: _said(call) for what, call in calls.items() if what not in absent}


def _read(client: ProviderClient, other: Any, until: float) -> Any:
    return other.read_account(client.sender.poll(other.ask_account(), until))


def _said(call: Callable[[float], Any]) -> str:
    try:
        return shorten(str(call(time.monotonic() + _ASK_SECONDS)), 200)
    except PixverseError as error:
        return shorten(f"{type(error).__name__}: {error}", 200)
