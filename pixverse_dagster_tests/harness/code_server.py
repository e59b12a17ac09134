"""Dagster's code server as a daemon starts it, but with each of its runs forked from it.

A run is else a new interpreter that imports Dagster again. A workspace leads here by the interpreter that it names: a
script that runs this module as a program.
"""

import json
import shlex
import sys
from importlib import import_module
from pathlib import Path

from pixverse_dagster_tests.harness.forked import OF_A_RUN, code_server


def write_workspace(folder: Path, module: str) -> Path:
    """A workspace of one module, in this folder."""
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m {__name__} "$@"\n')
    python.chmod(0o700)
    workspace = folder / "workspace.yaml"
    location = {"module_name": module, "executable_path": str(python)}
    workspace.write_text(json.dumps({"load_from": [{"python_module": location}]}))
    return workspace


def main() -> None:
    """Be what `python -m dagster api grpc …` is."""
    option, module, *words = sys.argv[1:]
    if (option, module, *words[:2]) != ("-m", "dagster", "api", "grpc"):
        raise SystemExit(f"this is for code servers, not for {sys.argv[1:]}")
    for name in OF_A_RUN:
        import_module(name)
    sys.argv = ["dagster", *words]
    code_server()


if __name__ == "__main__":
    main()
