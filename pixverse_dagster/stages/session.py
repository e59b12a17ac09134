"""One pipeline's configuration, and what a process needs to work on it. No Dagster here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from pixverse_dagster.core.commands import CommandLine
from pixverse_dagster.core.errors import raise_if_unsafe
from pixverse_dagster.core.manifest import World
from pixverse_dagster.core.task import Task
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.ledger.staged import StagedImage
from pixverse_dagster.media.images import ImageSource
from pixverse_dagster.stages.image_store import ImageStore
from pixverse_dagster.stages.options import PipelineOptions
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.objects import Objects, ObjectStore
from pixverse_dagster.tables import AssetTable, FileTable, PromptTable
from pixverse_dagster.tables.notes import FileSettings
from pixverse_dagster.tables.rules import TableRules
from pixverse_dagster.transport.client import ProviderClient
from pixverse_dagster.transport.download import Downloader

_SAMPLES = Path(__file__).parents[1] / "samples" / "images"


@dataclass(frozen=True)
class Pipeline:
    """A `prompts`/`tasks`/`clips` trio: its name, where its rows come from, and how it behaves."""

    name: str
    table: PromptTable
    options: PipelineOptions = field(default_factory=PipelineOptions)

    @property
    def rules(self) -> TableRules:
        """How the table's rows are read."""
        options = self.options
        return TableRules(
            options.defaults,
            options.labels,
            options.columns,
            options.on_unsupported,
            options.rounding,
            options.compare,
            options.seeds,
        )

    @property
    def source(self) -> PromptTable:
        """The table, read as the options have it."""
        if not isinstance(self.table, FileTable):
            return self.table
        wanted = {"id", "prompt", *self.options.columns.values()}
        options = self.options
        return self.table.with_settings(FileSettings(options.format, options.sheet, options.range, frozenset(wanted)))

    @property
    def marks(self) -> FileTable | None:
        """The table of marks that is read with the prompts, if the options name one."""
        return FileTable(self.options.marks, rules=self.options.download) if self.options.marks else None

    @property
    def is_given_rows(self) -> bool:
        """Whether the table is an asset's value, which only a run is handed."""
        return isinstance(self.table, AssetTable)

    @property
    def image_base(self) -> str:
        """Where relative images are: as the options have it, else the table's own folder."""
        return self.options.image_base or (self.table.folder if isinstance(self.table, FileTable) else ".")


@dataclass
class AskedStore:
    """What was asked of a store in one session, so that rows that wait for their turn do not ask it again and again.

    `not_there` says of requests, by row and digest, when the store had nothing for them (seconds since the epoch).
    `rows` are the requests that the session asked for: those that are withdrawn later it does not ask for again.
    """

    may_pay: bool = False
    rows: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    not_there: dict[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])


@dataclass
class Staging:
    """What a session knows of images that it brought somewhere, and who is bringing one now."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    under_way: dict[tuple[str, str], threading.Lock] = field(default_factory=dict[tuple[str, str], threading.Lock])
    signed: dict[tuple[str, str], StagedImage] = field(default_factory=dict[tuple[str, str], StagedImage])
    there: set[str] = field(default_factory=set[str])
    place: ObjectStore | None = None
    has_place: bool | None = None

    def turn(self, account: str, digest: str) -> threading.Lock:
        """The lock under which one image is brought to one account."""
        with self.lock:
            return self.under_way.setdefault((account, digest), threading.Lock())


@dataclass(frozen=True)
class Session:
    """A pipeline with its ledger, its provider clients and its downloader, and the way to its store."""

    pipeline: Pipeline
    ledger: Ledger
    clients: Mapping[str, ProviderClient]
    downloader: Downloader
    run_id: str
    clock: Callable[[], float]
    stopped: Callable[[], bool] = bool
    """Whether a person wants no further submits of this run; never, unless told how to find out."""
    commands: CommandLine = field(default_factory=CommandLine)
    """The commands that messages name."""
    open_store: Callable[[], ClipStore] | None = None
    """Opens the store that the clips go to, if the session knows it."""
    objects: Objects = field(default_factory=Objects)
    """Reaches objects in S3 and elsewhere that are none of the store's."""
    staging: Staging = field(default_factory=Staging)
    """What this session knows of images that it brought somewhere."""
    asked: AskedStore = field(default_factory=AskedStore)
    """What this session has asked its store already."""

    @property
    def options(self) -> PipelineOptions:
        """The pipeline's options."""
        return self.pipeline.options

    @property
    def worlds(self) -> dict[str, World]:
        """The world that each of the providers is of, as this session works with it."""
        return {provider: client.world for provider, client in self.clients.items()}

    def counts(self, task: Task) -> bool:
        """Whether the task was made in the world that its provider is of now."""
        client = self.clients.get(task.provider)
        return client is None or client.world == task.world

    def images(self) -> ImageSource:
        """Where this pipeline's input images are."""
        kept = ImageStore(self.pipeline.name, self.open_store) if self.open_store else None
        options = self.options
        return ImageSource(
            self.pipeline.image_base,
            self.downloader,
            read_urls=options.read_image_urls,
            convert=options.convert_images,
            kept=kept,
            read_object=self.objects.read,
            samples=self._samples(),
        )

    def _samples(self) -> dict[str, str]:
        """Where a simulator has the sample table's images, by name: the rows of that table name them so."""
        simulated = [client for client in self.clients.values() if client.world == "simulator"]
        if not simulated:
            return {}
        simulator = simulated[0].provider.base_url.rpartition("/")[0]
        return {path.name: f"{simulator}/samples/{path.name}" for path in _SAMPLES.iterdir()}

    def close(self) -> None:
        """Close every connection to providers and result hosts."""
        for client in self.clients.values():
            client.close()
        self.downloader.close()
        self.objects.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Close the session. An error that leaves it is redacted, with all that it was caused by."""
        self.close()
        if isinstance(error, Exception):
            raise_if_unsafe(error)
