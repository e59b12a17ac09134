"""A `python3.11` for a test: the environments that it makes have what the tests' own has, and need no network.

All but this project, so that what is run there is what was installed there. `pip install` finds the rest in place.
"""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

_NOT_SHARED = ("pixverse_dagster", "_editable_impl_pixverse", "__pycache__")
_SCRIPTS = ("create-dagster", "dagster", "dagster-webserver", "dagster-daemon", "dg", "pip")


def write_python(folder: Path) -> Path:
    """A folder for PATH with a `python3.11` that runs this file."""
    folder.mkdir()
    script = folder / "python3.11"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" "$@"\n')
    script.chmod(0o755)
    return folder


def main(arguments: list[str]) -> None:
    """Do as python does; a new environment is then filled."""
    if arguments[:2] != ["-m", "venv"]:
        subprocess.run([sys.executable, *arguments], check=True)
        return
    # Its pip is ours too: to unpack one takes longer than all the rest.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", *arguments[2:]], check=True)
    made = Path(arguments[2])
    site = next(made.glob("lib/python*/site-packages"))
    for name in ("purelib", "platlib"):
        for entry in Path(sysconfig.get_path(name)).iterdir():
            if not entry.name.startswith(_NOT_SHARED) and not (site / entry.name).exists():
                (site / entry.name).symlink_to(entry)
    for name in _SCRIPTS:
        first, *rest = Path(sys.executable).with_name(name).read_text().splitlines(keepends=True)
        assert first.startswith("#!"), name
        script = made / "bin" / name
        script.write_text("".join([f"#!{made.resolve() / 'bin' / 'python'}\n", *rest]))
        shutil.copymode(Path(sys.executable).with_name(name), script)


if __name__ == "__main__":
    main(sys.argv[1:])
