"""Everything about a pipeline that has a default: the only place where an option is declared."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from pixverse_dagster.core.price import Price
from pixverse_dagster.core.values import FrozenModel
from pixverse_dagster.policy.budget import Budget
from pixverse_dagster.policy.quality import CheckRules
from pixverse_dagster.policy.retry import RetryPolicy
from pixverse_dagster.policy.timing import Pace
from pixverse_dagster.tables.rules import EVERY
from pixverse_dagster.transport.download import DownloadRules


def _as_labels(value: Any) -> Any:
    return (EVERY,) if value == EVERY else value


Labels = Annotated[Sequence[str], BeforeValidator(_as_labels, json_schema_input_type=Sequence[str] | Literal["*"])]


def _as_rounding(value: Any) -> Any:
    return ("nearest" if value else "refuse") if isinstance(value, bool) else value


OnUnsupported = Literal["refuse", "drop"]
Rounding = Annotated[Literal["refuse", "nearest"], BeforeValidator(_as_rounding)]


class PipelineOptions(FrozenModel):
    """Everything about a pipeline that has a sensible default."""

    defaults: Mapping[str, Any] = Field(
        default_factory=dict, description="Parameters for empty cells, `model` among them."
    )
    labels: Labels = Field(
        default=(), description='Columns that describe and do not generate; "*" for all that are nothing else.'
    )
    columns: Mapping[str, str] = Field(
        default_factory=dict, description="Your own column names: by the name here, the table's: `prompt: Description`."
    )
    on_unsupported: OnUnsupported = Field(
        default="refuse",
        description="What a row's model does not take is a problem of the row, or with `drop` left out, which plan and "
        "manifest say. Prompt and images never are.",
    )
    rounding: Rounding = Field(
        default="refuse",
        description="`nearest`: a duration or a resolution that a row's model does not have goes to the nearest that "
        "it has, said in the plan.",
    )
    compare: Sequence[str] = Field(
        default=(), description="Each row is made at these models too: `kite` also as `kite~runware-pixverse-v4.5`."
    )
    seeds: int = Field(
        default=1, ge=1, le=100, description="Each row is made with so many seeds: `kite`, `kite~2`, `kite~3`."
    )
    format: str | None = Field(
        default=None,
        description="The format of the table's file, where its name does not say it: csv, json …",
    )
    sheet: str | None = Field(
        default=None, description="The sheet of a workbook, by name or number; the first that is shown if not given."
    )
    range: str | None = Field(
        default=None, description="Where the table is on its sheet, header included: B3:F40, or B3 to begin there."
    )
    image_base: str | None = Field(
        default=None, description="Where relative images are: a folder or a URL. The table's own folder if not given."
    )
    image_store: str | None = Field(
        default=None,
        description="Where images are put that a provider has to fetch by a signed link: s3://bucket/folder, gs:// or "
        "abfs://. The bucket of the clips if not given.",
    )
    read_image_urls: bool = Field(
        default=True, description="Read and check images behind URLs before anything is paid."
    )
    convert_images: bool = Field(
        default=False,
        description="Make a JPEG or PNG out of an image that the model does not take (HEIC, AVIF, WebP, too large), as "
        "it is shown: turned as its camera says, what is transparent on white, scaled into the limits.",
    )
    pay_for_changed_images: bool = Field(
        default=False,
        description="New bytes under an unchanged http(s) address of an image are a new request, which may be paid "
        "for. By default they are named, and only `tasks retry ROW --take` pays for them.",
    )
    deadline_seconds: float = Field(default=1800, gt=0, description="How long a direct materialisation of clips waits.")
    group_name: str | None = Field(
        default=None, description="The group of the assets; the pipeline's name if not given."
    )
    watch_table: bool = Field(
        default=False, description="A sensor reads the table again when its file, local or in S3, has changed."
    )
    read_cron: str | None = Field(default=None, description="A schedule on which the table is read again, as cron.")
    read_time_zone: str | None = Field(
        default=None, description="The time zone of `read_cron`, as Europe/Berlin; UTC if not given."
    )
    marks: str | None = Field(
        default=None,
        description="The table of marks that the gallery exports, a path or a URL: read with the prompts. It says "
        "which clips are picked and which are rejected, and costs nothing.",
    )
    gallery: bool = Field(
        default=False, description="An asset that writes the page of the clips, and a sensor that renews it."
    )
    gallery_url: str | None = Field(
        default=None, description="Where the page of the clips is served; its address in the store if not given."
    )
    dagster_url: str | None = Field(
        default=None, description="Where Dagster's pages are: clips on the page then link to their runs."
    )
    keep_removed_partitions: bool = Field(
        default=True, description="Rows that left the table stay partitions. Their clips and history stay either way."
    )
    allow_shrink: bool = Field(
        default=False,
        description="Partitions go also where most of the table's rows are gone: without it, such a table is refused.",
    )
    budget: Budget = Field(default_factory=Budget, description="Limits on spending, per run, per day and in all.")
    max_usd_per_row: float | None = Field(
        default=None, gt=0, description="A row whose estimate is higher, or unknown, is not submitted."
    )
    retry: RetryPolicy = Field(
        default_factory=RetryPolicy, description="Further paid attempts after a failure, by its kind; none by default."
    )
    prices: Sequence[Price] = Field(default=(), description="Your own prices; they come before the published ones.")
    checks: CheckRules = Field(
        default_factory=CheckRules, description="What every stored clip must be like, and whether a failure blocks."
    )
    verify: bool = Field(
        default=False,
        description="An asset check on `clips`, `verified`: ledger, store, manifests and Dagster are compared, as the "
        "command `verify` does it. It blocks nothing.",
    )
    verify_deep: bool = Field(default=False, description="That check reads every byte and decodes every clip.")
    verify_cron: str | None = Field(
        default=None, description="A schedule on which that check is made, as cron; it is there then without `verify`."
    )
    pace: Pace = Field(default_factory=Pace, description="How often to ask, and when waiting becomes an end.")
    record: str | None = Field(
        default=None,
        description="A folder that keeps every request to a provider and its answer, with permissions cut: for a first "
        "live run, see `check --live`.",
    )
    download: DownloadRules = Field(default_factory=DownloadRules, description="Limits for what is fetched from URLs.")
