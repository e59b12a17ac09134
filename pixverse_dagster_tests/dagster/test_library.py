"""What Dagster knows of this package as a library."""

import subprocess
import sys

import pixverse_dagster

PROGRAM = """
from dagster_shared.libraries import DagsterLibraryRegistry
before = "pixverse-dagster" in DagsterLibraryRegistry.get()
from pixverse_dagster import PixverseClipsComponent
print(before, DagsterLibraryRegistry.get()["pixverse-dagster"])
"""


def test_whoever_defines_a_pipeline_has_this_library_registered_with_dagster():
    """Dagster's pages and telemetry name it, with its version, and do not take it for one of Dagster's own."""
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.split() == ["False", pixverse_dagster.__version__]
    assert "mismatch" not in ran.stderr
