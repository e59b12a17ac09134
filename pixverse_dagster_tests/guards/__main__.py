"""`python -m pixverse_dagster_tests.guards`: break each guard in a copy, one at a time, and print the survivors.

Exit code 1 if one survives, or if its tests cannot say.
"""

from __future__ import annotations

import argparse
import sys
import time

from pixverse_dagster_tests.guards.listed import GUARDS
from pixverse_dagster_tests.guards.run import draw, find_commit, try_guards


def say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m pixverse_dagster_tests.guards", description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="guards whose name has this in it")
    parser.add_argument("--sample", type=int, metavar="N", help="so many, drawn by the seed")
    parser.add_argument("--seed", metavar="COMMIT", help="what they are drawn by; the present commit by default")
    parser.add_argument("--list", action="store_true", help="print the guards, and break none")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time (2)")
    asked = parser.parse_args()
    guards = [guard for guard in GUARDS if not asked.only or any(word in guard.name for word in asked.only)]
    if not guards:
        parser.error(f"no guard is called {' or '.join(asked.only)}; --list names them")
    if asked.sample is not None:
        guards = draw(guards, asked.sample, asked.seed or find_commit())
    if asked.list:
        for guard in guards:
            say(f"{guard.promise:4}{guard.name}: {guard.wrong} ({guard.module}.{guard.function})")
        return 0
    began = time.monotonic()
    verdicts = try_guards(guards, asked.jobs, say)
    survivors = [verdict for verdict in verdicts if verdict.survived]
    untried = [verdict for verdict in verdicts if not verdict.survived and not verdict.ran.noticed]
    for verdict in untried + survivors:
        say(str(verdict))
    say(
        f"{len(verdicts)} guards broken in {time.monotonic() - began:.0f} s: "
        f"{len(verdicts) - len(survivors) - len(untried)} noticed, {len(untried)} not tried, "
        f"survivors: {len(survivors) or 'none'}"
    )
    return 1 if survivors or untried else 0


if __name__ == "__main__":
    sys.exit(main())
