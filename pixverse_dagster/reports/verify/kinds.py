"""Every kind of discrepancy that `verify` names: what was compared, who is likely right, what it means for money.

The pages that say what is compared are made from this list.
"""

from __future__ import annotations

from pixverse_dagster.reports.verify.findings import Kind, Repair, Side

_SAFE = "nothing: the row has its clip by the ledger, and is not paid for again"
_AGAIN = "the row may be paid for again"
_COPY = "put the file back from a copy of the store; where there is none, pay for another clip of it: {retake}"
_ASIDE = "put it back from a copy, or have it made again from the ledger and the files: {aside}"
_LEDGER = "put the ledger back from a copy of it, then take in what came since: {rebuild}"

MANIFEST_MISSING = Kind("manifest missing", "a stored clip has its manifest", Side.LEDGER, _SAFE, Repair.COLLECT)
MANIFEST_UNREADABLE = Kind("manifest unreadable", "a manifest can be read", Side.LEDGER, _SAFE, remedy=_ASIDE)
MANIFEST_CHANGED = Kind(
    "manifest changed",
    "the sha256 of a manifest's bytes is the one that the ledger keeps",
    Side.LEDGER,
    _SAFE,
    remedy=_ASIDE,
)
MANIFEST_UNKEPT = Kind(
    "manifest not vouched for",
    "the ledger keeps a sha256 of each stored clip's manifest: without it, nobody can tell whether it was rewritten",
    Side.NOBODY,
    _SAFE,
    Repair.KEEP_DIGEST,
)
MANIFEST_FIELD = Kind(
    "manifest differs",
    "what a manifest says is what the ledger says: pipeline, row, take, labels, model, account, world, ledger id, "
    "claim, attempt, task id, client reference, request as resolved, digests, images, parameters dropped or adjusted, "
    "attempts, times, cost, outputs asked, seeds, keys, sha256 and sizes of the outputs",
    Side.LEDGER,
    "what was charged is in doubt where the cost, the account or the task differs; nothing is paid again",
    remedy="if the manifest's bytes changed, too: {aside}; if they did not, the ledger did: {backup}",
)
CLIP_MISSING = Kind("clip missing", "every output of a manifest is in the store", Side.LEDGER, _SAFE, remedy=_COPY)
CLIP_SIZE = Kind(
    "clip of another size", "every output has the size that its manifest says", Side.LEDGER, _SAFE, remedy=_COPY
)
CLIP_CHANGED = Kind(
    "clip changed", "every output has the sha256 that its manifest says", Side.LEDGER, _SAFE, remedy=_COPY, deep=True
)
CLIP_FACTS = Kind(
    "clip not as described",
    "every output decodes from first to last frame, and is what its manifest says: container, codec, sides, frame "
    "rate, duration, sound",
    Side.STORE,
    _SAFE,
    remedy="look at it; where it is no clip, pay for another one: {retake}",
    deep=True,
)
POSTER_MISSING = Kind(
    "poster missing", "every poster that a manifest describes is there", Side.LEDGER, _SAFE, Repair.COLLECT
)
POSTER_CHANGED = Kind(
    "poster changed",
    "every poster has the size and, with `--deep`, the sha256 that its manifest says, or, where it was made since, "
    "that the ledger has on record",
    Side.LEDGER,
    _SAFE,
    remedy="{aside}",
)
STRAY = Kind(
    "stray file",
    "every file below the pipeline's folder is one of the layout, and one that a task of the ledger accounts for",
    Side.NOBODY,
    "nothing, as long as it is no clip that somebody paid for",
    remedy="look whose it is; nothing here touches it. If it is nobody's, move it out of the store: {move}",
)
CLIP_UNKNOWN = Kind(
    "clip unknown to the ledger",
    "every manifest in the store is of a task that the ledger says is stored",
    Side.STORE,
    "it was paid for, and no total of this ledger counts it; the store is asked before anybody is paid, so that its "
    "row is not paid for again while it is there",
    Repair.TAKE_IN,
)
FORGOTTEN_LEFT = Kind(
    "left of a forgotten clip",
    "nothing is left in the folder of a clip that was forgotten but its tombstone",
    Side.LEDGER,
    "nothing: a forgotten clip is not paid for again",
    remedy="{forget}",
)
TOMBSTONE_MISSING = Kind(
    "tombstone missing",
    "every forgotten task has its tombstone",
    Side.LEDGER,
    "without the ledger it would be paid for again",
    remedy="{forget}",
)
TOMBSTONE_DIFFERS = Kind(
    "tombstone differs",
    "a tombstone says what the ledger says: account, world, task id, client reference, digest, take, claim, attempt, "
    "cost, decision",
    Side.LEDGER,
    "nothing: a forgotten clip is not paid for again",
    remedy="put the file back from a copy of the store, or move it out and have it written again: {move} && {forget}",
)
TOMBSTONE_OF_STORED = Kind(
    "tombstone of a stored clip",
    "no stored task has a tombstone in its folder",
    Side.STORE,
    "nothing: neither a stored nor a forgotten clip is paid for again",
    remedy="if it was to be forgotten: {forget}; if not, move the tombstone out of the store: {move}",
)
TOMBSTONE_UNKNOWN = Kind(
    "tombstone unknown to the ledger",
    "every tombstone is of a task that the ledger says is forgotten",
    Side.STORE,
    "no total of this ledger counts what it cost; the store is asked before anybody is paid, so that its row is not "
    "paid for again while it is there",
    Repair.TAKE_IN,
)
IMAGE_CHANGED = Kind(
    "image changed",
    "every staged or converted image in `images/` has the sha256 that is its name, and a thumbnail is a picture",
    Side.NOBODY,
    "a submit that sends it would pay for a clip of another picture",
    remedy="move it out of the store, and it is made again when it is next sent: {move}",
    deep=True,
)
IMAGE_MISSING = Kind(
    "image missing",
    "every image that was converted for a stored clip is in `images/`, where conversions are kept",
    Side.LEDGER,
    "nothing: it is made again when it is next sent",
    remedy="put the file back from a copy of the store; the clip does not need it",
)
NAMES_DIFFER = Kind(
    "names differ",
    "what a row and a pipeline are called now is the same by the ledger and by the store's `names/`",
    Side.NOBODY,
    "while they differ, the row may be looked for under the wrong name, and be paid for again",
    remedy="run the renaming again, which is repeatable: {rename}",
)
LEDGER_UNSIGNED = Kind(
    "ledger not in the store",
    "`ledgers/<id>.json` of the store names this ledger with the pipeline, once it has stored a clip there",
    Side.LEDGER,
    "a lost ledger would not be missed, and what it had pending would be paid for again",
    remedy="the next run that stores or pays writes it; to have it now: {submit}",
)
LEDGER_BEHIND = Kind(
    "ledger older than the store",
    "the ledger has begun as many runs that pay as `ledgers/<id>.json` says",
    Side.STORE,
    "what was paid for since that copy was made is not in it: nothing is paid until it is",
    remedy="{rebuild}",
)
DIGEST = Kind(
    "digest is not its request's",
    "the digest of every row and task is that of its request, images and take, computed anew",
    Side.NOBODY,
    _AGAIN,
    remedy="read the table again, which is free; of a task, put the ledger back from a copy: {backup}",
)
TASK_ID_TWICE = Kind(
    "task id twice",
    "no two tasks have one task id at one account",
    Side.NOBODY,
    "one payment counts twice, or one clip is taken for two rows'",
    remedy="look for the id in the provider's console, then at both rows: {show}",
)
CLIP_TWICE = Kind(
    "stored twice",
    "no request has two stored clips, unless the first attempt had ended without one when the second was made",
    Side.NOBODY,
    "the request was perhaps paid for twice",
    remedy="look at both: {show}",
)
BYTES_TWICE = Kind(
    "same bytes in two clips",
    "no two tasks have stored an output of the same bytes",
    Side.NOBODY,
    "perhaps one row was paid for and has another one's clip",
    remedy="look at both, and at the provider's console: {show}",
)
HISTORY = Kind(
    "history differs",
    "the state of every task is the one that its history ends with, every task of the history is there, and no entry "
    "is missing",
    Side.NOBODY,
    "a task whose state was changed by hand may be paid for again, or never be collected",
    remedy=_LEDGER,
)
PARTITION_MISSING = Kind(
    "partition missing",
    "every row of the table, and of a stored clip where removed rows are kept, is a partition in Dagster",
    Side.LEDGER,
    "nothing: but nobody can materialise the row",
    Repair.ADD_PARTITION,
)
CLIP_UNREPORTED = Kind(
    "clip not in Dagster",
    "every stored clip has a materialisation of `clips` on its row's partition, by its task and the sha256 of its "
    "first output, unless a blocking check withholds it",
    Side.LEDGER,
    "nothing: what is stored is not paid for again; but nothing downstream starts on it",
    Repair.REPORT_CLIP,
)
CLIP_OUTDATED = Kind(
    "Dagster shows another clip",
    "the newest materialisation of `clips` is that of the row's present clip, by task, data version and input version",
    Side.LEDGER,
    "nothing: what is stored is not paid for again; but what is made downstream is taken to be from another clip",
    Repair.REPORT_CLIP,
)
CLIP_METADATA = Kind(
    "Dagster says otherwise of a clip",
    "the newest materialisations of `clips` and `tasks` say of the task what the ledger says: task id, account, model, "
    "take, attempt, digest, cost",
    Side.LEDGER,
    "nothing is paid by what Dagster shows; what a person reads there is wrong",
    Repair.REPORT_CLIP,
)
CLIP_NOWHERE = Kind(
    "Dagster has a clip that nobody stored",
    "every row whose newest materialisation of `clips` is a clip has one by the ledger",
    Side.NOBODY,
    "if the ledger lost it, its row may be paid for again unless the store has it",
    remedy=_LEDGER,
)
CLIP_SHOWN = Kind(
    "Dagster shows a forgotten clip",
    "the newest materialisation of a forgotten row's `clips` says that it was deleted",
    Side.LEDGER,
    "nothing: a forgotten clip is not paid for again",
    remedy="{forget}",
)
TASK_UNREPORTED = Kind(
    "task not in Dagster",
    "every stored task, and every one under way for more than ten minutes, has a materialisation of `tasks`",
    Side.LEDGER,
    "nothing: the ledger alone decides what is paid for",
    Repair.REPORT_TASK,
)
CHECK_DIFFERS = Kind(
    "check differs",
    "whether the row's clip failed its check is the same by the ledger and by Dagster",
    Side.NOBODY,
    "nothing; a clip that fails may be used downstream, or a good one be withheld",
    Repair.CHECK,
)

KINDS: tuple[Kind, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Kind))
"""Every kind, in the order of this file."""
