"""One pipeline's configuration, and what a process needs to work on it. No Dagster here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from pixverse_dagster.budget import Budget
from pixverse_dagster.download import Downloader
from pixverse_dagster.images import ImageBook
from pixverse_dagster.inspection import CheckRules
from pixverse_dagster.ledger import Ledger
from pixverse_dagster.pace import Pace
from pixverse_dagster.prices import Price
from pixverse_dagster.prompts import TableRules
from pixverse_dagster.retry import RetryPolicy
from pixverse_dagster.tables import PromptTable
from pixverse_dagster.wire import Account


@dataclass(frozen=True)
class Pipeline:
    """A `prompts`/`tasks`/`clips` trio: where its rows come from and how it behaves."""

    name: str
    table: PromptTable
    rules: TableRules = field(default_factory=TableRules)
    image_base: str = "."
    read_image_urls: bool = True
    pace: Pace = field(default_factory=Pace)
    budget: Budget = field(default_factory=Budget)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    prices: Sequence[Price] = ()
    checks: CheckRules = field(default_factory=CheckRules)


@dataclass(frozen=True)
class Workshop:
    """A pipeline with its ledger, its provider accounts and its downloader: everything but the store."""

    pipeline: Pipeline
    ledger: Ledger
    accounts: Mapping[str, Account]
    downloader: Downloader
    run_id: str
    clock: Callable[[], float]
    stopped: Callable[[], bool] = bool
    """Whether a person wants no further submits of this run; never, unless told how to find out."""

    def account_name(self, provider: str) -> str:
        """What the ledger calls the provider account that this workshop uses."""
        account = self.accounts.get(provider)
        return account.provider.account(self.ledger.id) if account else ""

    def images(self) -> ImageBook:
        """Where this pipeline's input images are."""
        return ImageBook(self.pipeline.image_base, self.downloader, read_urls=self.pipeline.read_image_urls)

    def close(self) -> None:
        """Close every connection to providers and result hosts."""
        for account in self.accounts.values():
            account.close()
        self.downloader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
