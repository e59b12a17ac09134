"""What a store holds against what providers made: every file, manifest and poster, byte for byte.

Each check yields what is wrong; nothing is wrong where none yields.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import unquote

from pixverse_dagster_tests.harness.judge.records import Files, Record, sha256, words_of

_CLIP = re.compile(r"[^/]+/clips/[^/]+/[0-9a-f]{12}-t\d+(-a\d+)?/(?P<name>[^/]+)")
_OUTPUT = re.compile(r"[1-4]\.(mp4|webm|mov)")


def folder_of(task: Record) -> str:
    """Where a ledger's task has its clips."""
    if task["folder"]:
        return str(task["folder"])
    last = f"-a{task['attempt']}" if (task["attempt"] or 1) > 1 else ""
    return f"{task['pipeline']}/clips/{task['row']}/{task['digest'][:12]}-t{task['take']}{last}"


def names_in(files: Files, folder: str) -> set[str]:
    """The names of the files in a folder of clips."""
    return {key.removeprefix(f"{folder}/") for key in files.keys(f"{folder}/")}


def check_store(charges: Sequence[Record], files: Files, pipeline: str) -> Iterator[str]:
    """Each manifest tells of a charged task, and has this very task's outputs; no clip is stored twice."""
    sold = {charge["task_id"]: charge for charge in charges}
    bytes_of: dict[str, str] = {}
    manifests: list[str] = []
    for key in files.keys(f"{pipeline}/clips/"):
        found = _CLIP.fullmatch(key)
        if not found:
            yield f"{key}: no file of a clip has such a name"
        elif found["name"] == "manifest.json":
            manifests.append(key)
        else:
            bytes_of[key] = sha256(files.read(key))
    outputs = {key: digest for key, digest in bytes_of.items() if _OUTPUT.fullmatch(key.rsplit("/", 1)[1])}
    places: dict[str, list[str]] = defaultdict(list)
    for key, digest in outputs.items():
        places[digest].append(key)
    yield from (f"one clip is stored {len(here)} times: {sorted(here)}" for here in places.values() if len(here) > 1)
    made = {output["sha256"] for charge in charges for output in charge["outputs"]}
    yield from (f"{key}: no provider made these bytes" for key, digest in outputs.items() if digest not in made)
    folders: dict[str, list[str]] = defaultdict(list)
    for key in manifests:
        manifest = json.loads(files.read(key) or b"{}")
        folders[manifest.get("task_id", "")].append(key)
        yield from (f"{key}: {wrong}" for wrong in _check_manifest(key, manifest, sold, bytes_of))
    for task_id, here in folders.items():
        if len(here) > 1:
            yield f"task {task_id} is stored {len(here)} times: {here}"


def _check_manifest(
    key: str, manifest: Record, sold: Mapping[str, Record], bytes_of: Mapping[str, str]
) -> Iterator[str]:
    charge = sold.get(manifest.get("task_id", ""))
    if charge is None:
        yield f"task {manifest.get('task_id')} was never accepted"
        return
    reference = manifest["client_reference"]
    if charge["provider"] != manifest["provider"] or charge["client_reference"] not in {None, reference}:
        yield f"the manifest is not of this task: {manifest['provider']}, {reference}"
    if words_of(charge) != str(manifest["request"]["prompt"]).strip():
        yield f"task {manifest['task_id']} was paid for other words than those of row {manifest['row']!r}"
    made, outputs = [output["sha256"] for output in charge["outputs"]], manifest["outputs"]
    if (told := [output["sha256"] for output in outputs]) != made:
        yield f"task {manifest['task_id']} made {made}, and the manifest has {told}"
    if (stored := [bytes_of.get(output["key"]) for output in outputs]) != made:
        yield f"task {manifest['task_id']} made {made}, and the files hold {stored}"
    for output in outputs:
        if output["poster_sha256"] and bytes_of.get(output["poster_key"]) != output["poster_sha256"]:
            yield f"the poster of output {output['n']} is not the one that its manifest tells of"
    folder = key.rsplit("/", 1)[0]
    if any(output["key"].rsplit("/", 1)[0] != folder for output in outputs):
        yield "the manifest names files of another folder"


def check_stored(task: Record, charge: Record, files: Files) -> Iterator[str]:
    """A task that the ledger calls stored has the manifest that the ledger knows, and just its files beside it.

    A poster that could not be made when the clip was stored may be there by now.
    """
    folder = folder_of(task)
    text = files.read(f"{folder}/manifest.json")
    if text is None:
        yield f"row {task['row']!r} is stored without a manifest"
        return
    if task["manifest_sha256"] and sha256(text) != task["manifest_sha256"]:
        yield f"row {task['row']!r} has another manifest than the ledger knows"
    manifest = json.loads(text)
    own = (manifest["task_id"], manifest["client_reference"], manifest["request_digest"], manifest["take"])
    if own != (task["task_id"], task["client_reference"], task["digest"], task["take"]):
        yield f"row {task['row']!r} has the manifest of another task: {own}"
    sold, stored = [o["sha256"] for o in charge["outputs"]], [o["sha256"] for o in manifest["outputs"]]
    if stored != sold:
        yield f"row {task['row']!r} has other bytes than were sold: {stored} for {sold}"
    outputs = manifest["outputs"]
    told = {"manifest.json", *(output["key"] for output in outputs)}
    told |= {output["poster_key"] for output in outputs if output["poster_sha256"]}
    named, found = {key.rsplit("/", 1)[-1] for key in told}, names_in(files, folder)
    if not named <= found <= named | {output["poster_key"].rsplit("/", 1)[1] for output in outputs}:
        yield f"row {task['row']!r} has the files {sorted(found)}, its manifest {sorted(named)}"


def check_names(tasks: Sequence[Record], files: Files, pipeline: str) -> Iterator[str]:
    """The store alone says whose a folder is: by the newest document of names, or where that is silent by its own name.

    For pipelines that were not renamed themselves.
    """
    documents = {int(key.rsplit("/", 1)[1].removesuffix(".json")): key for key in files.keys(f"{pipeline}/names/")}
    said: dict[str, dict[str, str]] = (
        json.loads(files.read(documents[max(documents)]) or b"{}")["folders"] if documents else {}
    )
    for task in (task for task in tasks if task["state"] == "stored"):
        folder = folder_of(task)
        named = said[folder]["row"] if folder in said else unquote(folder.split("/")[-2])
        if named != task["row"]:
            yield f"the store says that {folder} is of row {named!r}, the ledger of row {task['row']!r}"
