"""The ledger's tables.

Times are seconds since the epoch, UTC; sums of money are millionths of a US dollar, prices are US dollars; JSON is
stored as text.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

HEAD = "4f6d2b8e91c3"
"""The newest migration; `migrations/versions` holds the way there."""
VERSION_TABLE = "pixverse_ledger_version"
UNRELEASED = frozenset({"0001", "0002"})
"""Revisions that existed before the schema was final. Ledgers of these are refused."""
metadata = MetaData()


# The ledger's random id, and what it knows of the other ledgers of its stores.
meta = Table(
    "pixverse_meta",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)


# --- prompt tables

snapshots = Table(
    "pixverse_snapshots",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("pipeline", String(200), nullable=False, index=True),
    Column("table_digest", String(64), nullable=False),
    Column("row_count", Integer, nullable=False),
    Column("problem_count", Integer, nullable=False),
    Column("problems", Text, nullable=False),
    Column("run_id", String(64), nullable=False),
    Column("created_at", Float, nullable=False),
)


rows = Table(
    "pixverse_rows",
    metadata,
    Column("pipeline", String(200), primary_key=True),
    Column("row", String(255), primary_key=True),
    Column("position", Integer, nullable=False),
    Column("line", Integer, nullable=False),
    Column("model", String(100), nullable=False),
    Column("take", Integer, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("digest_version", Integer, nullable=False),
    Column("address_digest", String(64), nullable=False),
    Column("request", Text, nullable=False),
    Column("images", Text, nullable=False),
    Column("labels", Text, nullable=False),
    Column("differences", Text, nullable=False),
    Index("pixverse_rows_position", "pipeline", "position"),
)


# The take that a person asked for, where it is higher than the table's.
takes = Table(
    "pixverse_takes",
    metadata,
    Column("pipeline", String(200), primary_key=True),
    Column("row", String(255), primary_key=True),
    Column("take", Integer, nullable=False),
)


# Requests that a person withdrew before they were sent: no sensor asks for them again.
withdrawals = Table(
    "pixverse_withdrawals",
    metadata,
    Column("pipeline", String(200), primary_key=True),
    Column("row", String(255), primary_key=True),
    Column("digest", String(64), primary_key=True),
    Column("at", Float, nullable=False),
)


# What is known of an input image at an address, so that an unchanged one is not read again.
image_cache = Table(
    "pixverse_image_cache",
    metadata,
    Column("address", String(64), primary_key=True),  # sha256 of the address, which may be long or a permission
    Column("mark", Text, nullable=False),  # ETag, or size and time
    Column("digest", String(80), nullable=False),
    Column("facts", Text, nullable=False),
    Column("read_at", Float, nullable=False),
)


# What was made of an image that a provider does not take as it is; the bytes are in the stores of those who sent it.
conversions = Table(
    "pixverse_conversions",
    metadata,
    Column("digest", String(80), primary_key=True),  # of the image as it was read
    Column("recipe", String(200), primary_key=True),  # the limits that it was made for, and how
    Column("sent_digest", String(80), nullable=False),
    Column("format", String(16), nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("made_at", Float, nullable=False),
)


# --- tasks

tasks = Table(
    "pixverse_tasks",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("pipeline", String(200), nullable=False),
    Column("row", String(255), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("digest_version", Integer, nullable=False),
    Column("address_digest", String(64), nullable=False),
    Column("claim", Integer, nullable=False),
    Column("attempt", Integer),
    Column("folder", Text, nullable=False),
    Column("take", Integer, nullable=False),
    Column("model", String(100), nullable=False),
    Column("request", Text, nullable=False),
    Column("images", Text, nullable=False),
    Column("labels", Text, nullable=False),
    Column("differences", Text, nullable=False),
    # The submit as it is sent, for a replay; emptied once its outcome is known. No command and no export shows it.
    Column("body", Text),
    Column("client_reference", String(64), nullable=False),
    Column("account", String(200), nullable=False),
    Column("world", String(16), nullable=False),
    Column("released", Boolean, nullable=False),
    Column("decision", Text),
    Column("task_id", String(255)),
    Column("state", String(16), nullable=False),
    Column("kind", String(32)),
    Column("reason", Text),
    Column("note", Text, nullable=False),
    Column("urls", Text),
    Column("seeds", Text),
    Column("estimate_usd", Float),
    Column("cost_usd", Float),
    Column("run_id", String(64), nullable=False),
    Column("polls", Integer, nullable=False),
    Column("collects", Integer, nullable=False),
    Column("claimed_at", Float, nullable=False),
    Column("lease_until", Float),
    Column("submitted_at", Float),
    Column("finished_at", Float),
    Column("stored_at", Float),
    Column("next_poll_at", Float),
    Column("next_collect_at", Float),
    Column("manifest_sha256", String(64)),
    Column("key", String(64), nullable=False, server_default=""),
    Column("found_at", Float),
    Column("paid_by", String(64)),
    Column("unread_since", Float),  # since when no poll of the task could be read; null once one was
    Column("stalled_at", Float),  # since when a person is to look, though the task's state stays
    Column("failed_position", BigInteger),  # of its latest failure in the history; null once no policy answers it
    # The claim: whoever inserts this row may send, and nobody else can.
    UniqueConstraint("pipeline", "row", "digest", "claim", name="pixverse_tasks_claim"),
    UniqueConstraint("pipeline", "row", "digest", "attempt", name="pixverse_tasks_attempt"),
    UniqueConstraint("account", "task_id", name="pixverse_tasks_id"),
    Index("pixverse_tasks_due", "pipeline", "state", "next_poll_at"),
    Index("pixverse_tasks_open", "account", "state"),
    Index("pixverse_tasks_reference", "client_reference"),
    Index("pixverse_tasks_failed", "pipeline", "kind", "failed_position"),
)


# Every file of a clip, written down before it is put into the store. A key has several digests where a provider
# rendered an output anew before the first rendering was put; the store has one of them.
files = Table(
    "pixverse_files",
    metadata,
    Column("task", String(32), primary_key=True),
    Column("key", String(700), primary_key=True),
    Column("sha256", String(64), primary_key=True),
    Column("n", Integer, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("recorded_at", Float, nullable=False),
)


# What the checks of a stored clip found, the latest result of each.
check_results = Table(
    "pixverse_check_results",
    metadata,
    Column("task", String(32), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("passed", Boolean),  # null: it could not be made yet
    Column("detail", Text, nullable=False),
    Column("at", Float, nullable=False),
)


# What a person marked, as the table of marks had it when it was last read. A mark that was taken off stays, empty,
# until Dagster was told of that.
marks = Table(
    "pixverse_marks",
    metadata,
    Column("pipeline", String(200), primary_key=True),
    Column("clip", String(700), primary_key=True),  # the key of the output in the store, without its ending
    Column("row", String(255), nullable=False),
    Column("task", String(32), nullable=False),
    Column("mark", String(16), nullable=False),  # pick, reject, or empty
    Column("note", Text, nullable=False),
    Column("marked_at", String(64), nullable=False),  # as the table has it: a program may have changed its form
    Column("reported", Boolean, nullable=False),  # whether Dagster was told of this mark and note
)


# What happened, in order. Append-only; a reader that has seen position n has seen everything up to n.
history = Table(
    "pixverse_history",
    metadata,
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False),
    Column("pipeline", String(200), nullable=False),
    Column("row", String(255), nullable=False),
    Column("task", String(32), nullable=False),
    Column("event", String(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("detail", Text, nullable=False),
    Index("pixverse_history_row", "pipeline", "row"),
)


# The last position of `history`. Its row is locked until the transaction ends, so that positions have no gaps.
counters = Table(
    "pixverse_counters",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", BigInteger, nullable=False),
)


# Rows that somebody asked to be submitted and that had to wait; a claim takes its row off.
waiting = Table(
    "pixverse_waiting",
    metadata,
    Column("pipeline", String(200), primary_key=True),
    Column("row", String(255), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("provider", String(64), nullable=False),
    Column("run_id", String(64), nullable=False),
    Column("backfill_id", String(64), nullable=False),
    Column("reason", Text, nullable=False),
    Column("refusals", Integer, nullable=False),
    Column("answer", Text, nullable=False, server_default=""),  # what the last of these refusals said
    Column("trouble", Text, nullable=False, server_default=""),  # what it was last told of its account
    Column("since", Float, nullable=False),
    Column("next_submit_at", Float, nullable=False),  # the end of the lease of the run that has the row
)


# --- money and accounts

# Running totals: of a pipeline, an account or a run, by day (since the epoch, UTC) or, where `day` is -1, in all.
# The scopes of what a simulator charged are `simulator` and `simulator run`.
spending = Table(
    "pixverse_spending",
    metadata,
    Column("scope", String(16), primary_key=True),
    Column("name", String(300), primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("usd_millionths", BigInteger, nullable=False),
)


# What one output of a model and shape costs at an account: `charged` is what the provider reported of a task, `listed`
# what it answered when it was asked. `usd` is the latest figure, `highest_usd` the highest one.
prices = Table(
    "pixverse_prices",
    metadata,
    Column("account", String(200), primary_key=True),
    Column("model", String(100), primary_key=True),
    Column("terms", String(400), primary_key=True),  # what the price depends on, as JSON with sorted names
    Column("source", String(16), primary_key=True),
    Column("usd", Float, nullable=False),
    Column("highest_usd", Float, nullable=False),
    Column("highest_at", Float, nullable=False),
    Column("seen_at", Float, nullable=False),
)


# What a provider said of an account when it was last asked: of its `balance`, its `prices` or its `key`.
account_facts = Table(
    "pixverse_account_facts",
    metadata,
    Column("account", String(200), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("amount", Float),  # of the balance
    Column("unit", String(16), nullable=False, server_default=""),  # of the balance: usd or credits
    Column("key", String(64), nullable=False, server_default=""),  # the fingerprint of the key that it was asked with
    Column("read_at", Float, nullable=False),
)


# Who stopped spending, where, and since when.
pauses = Table(
    "pixverse_pauses",
    metadata,
    Column("scope", String(16), primary_key=True),  # all, pipeline, account
    Column("name", String(200), primary_key=True),
    Column("reason", Text, nullable=False),
    Column("since", Float, nullable=False),
)


accounts = Table(
    "pixverse_accounts",
    metadata,
    Column("account", String(200), primary_key=True),
    Column("held_until", Float, nullable=False),
    Column("refusals", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("cause", String(16), nullable=False, server_default="pace"),  # what the trouble is with
    Column("key", String(64), nullable=False, server_default=""),  # the fingerprint of the key that met it
)


# The API keys seen for an account, as salted fingerprints. Keys with the same identity are of one account for certain;
# an empty identity is the fingerprint itself.
account_keys = Table(
    "pixverse_account_keys",
    metadata,
    Column("account", String(200), primary_key=True),
    Column("fingerprint", String(64), primary_key=True),
    Column("first_seen_at", Float, nullable=False),
    Column("confirmed_at", Float),
    Column("identity", String(64), nullable=False, server_default=""),
)


# Whether a pipeline works with a real provider or a simulator now; what was made in the other world does not count.
worlds = Table(
    "pixverse_worlds",
    metadata,
    Column("pipeline", String(200), primary_key=True),
    Column("provider", String(64), primary_key=True),
    Column("world", String(16), nullable=False),
)


# Images that an account has a copy of, or can read for some time. A reference never holds a signature.
staged_images = Table(
    "pixverse_staged_images",
    metadata,
    Column("account", String(200), primary_key=True),
    Column("digest", String(80), primary_key=True),
    Column("reference", Text, nullable=False),
    Column("expires_at", Float),
    Column("staged_at", Float, nullable=False, server_default="0"),
)


# When an option that spends by itself, such as a retry policy, was first seen with its value: where the history was
# then, so that no clock decides what came later.
policies = Table(
    "pixverse_policies",
    metadata,
    Column("pipeline", String(200), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("value", String(200), primary_key=True),
    Column("first_seen_at", Float, nullable=False),
    Column("position", BigInteger, nullable=False, server_default="0"),
)
