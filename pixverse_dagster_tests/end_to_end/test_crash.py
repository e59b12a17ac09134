"""Killed at any named point and simply run on, the pipeline pays for no row twice, loses none, stores each rightly."""

import itertools
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from pixverse_dagster_tests.harness.counts import COVER, FULL
from pixverse_dagster_tests.harness.crash.chains import (
    COMPLETE,
    SHARES,
    borders,
    cover,
    full_product,
    second_attempts,
    share_of_cover,
)
from pixverse_dagster_tests.harness.crash.daemon import daemon_cases, run_cases
from pixverse_dagster_tests.harness.crash.home import DATABASES, MODELS, STORES, Site
from pixverse_dagster_tests.harness.crash.judge import total
from pixverse_dagster_tests.harness.crash.killpoints import ALL_POINTS, POINTS, PointMissing, resolve
from pixverse_dagster_tests.harness.crash.matrix import all_wrong, run_chains
from pixverse_dagster_tests.harness.fixtures import Tell
from pixverse_dagster_tests.harness.servers import S3Server, delete_bucket, new_bucket

JOBS = 3
"""More than the two cores of CI: a chain waits for leases and polls as well."""
DEATHS_IN_CI = ("code server, collect leased", "daemon, run not launched", "machine, run half done")
"""One in a tick, one in the daemon and one in a run, on both databases and stores; the others with `--full`."""


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory, postgres_url: str, s3_server: S3Server) -> Iterator[Site]:
    bucket = new_bucket(s3_server)
    # A short name: the path of a code server's socket has 107 characters at most.
    yield Site(tmp_path_factory.mktemp("site"), postgres_url, s3_server, bucket)
    delete_bucket(s3_server, bucket)


@pytest.mark.parametrize("name", ALL_POINTS)
def test_every_point_is_a_function_of_the_code(name: str) -> None:
    """A point whose function was renamed or is gone fails here, by its name."""
    point = ALL_POINTS[name]
    for where in (point.where, point.inside):
        assert not where or callable(resolve(where)[2])


def test_a_point_that_is_gone_is_named() -> None:
    """What no longer exists is an error, never a kill that does not happen."""
    with pytest.raises(PointMissing, match=r"pixverse_dagster\.ledger:Ledger\.claim_row is not in the code"):
        resolve("pixverse_dagster.ledger:Ledger.claim_row")


def test_in_the_cover_every_point_meets_every_database_store_and_provider() -> None:
    """CI leaves out combinations, never a point, a database, a store, a provider or a model."""
    assert {(chain.database, chain.store) for chain in cover()} == {*itertools.product(DATABASES, STORES)}
    cells = [(chain, cell) for chain in cover() for cell in chain.cells]
    for point in POINTS:
        mine = [(chain, cell) for chain, cell in cells if cell.point == point]
        assert {chain.database for chain, _ in mine} == set(DATABASES)
        assert {chain.store for chain, _ in mine} == set(STORES)
        assert {cell.way for _, cell in mine} == {"assets", "jobs"}
        assert {cell.model.split("/")[0] for _, cell in mine} == {"highway", "runware", "pixwith"}
        if point in COMPLETE:
            assert {cell.links for _, cell in mine} == {"live", "gone"}
    for database in DATABASES:
        assert {cell.model for chain, cell in cells if chain.database == database} == set(MODELS)
    whole = {(cell.point, cell.model, chain.database, chain.store) for chain in full_product() for cell in chain.cells}
    assert len(whole) == len(POINTS) * len(MODELS) * len(DATABASES) * len(STORES)


def test_the_shares_of_the_cover_are_the_cover_and_each_has_every_point() -> None:
    """Whichever share a change draws, no point goes without a kill, and no provider, database or store without many."""
    shares = [[cell for chain in share_of_cover(n) for cell in chain.cells] for n in range(SHARES)]
    assert all(sorted(cell.point for cell in share) == sorted(POINTS) for share in shares)
    for number, share in enumerate(shares):
        assert {cell.model.split("/")[0] for cell in share} == {"highway", "runware", "pixwith"}
        assert {chain.database for chain in share_of_cover(number)} == set(DATABASES)
        assert {chain.store for chain in share_of_cover(number)} == set(STORES)
    whole = Counter(cell for chain in cover() for cell in chain.cells)
    assert Counter(cell for share in shares for cell in share) == whole


def draw_share() -> int:
    """By the commit; without one, as in a source distribution, the first."""
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return int(head.stdout.strip() or "0", 16) % SHARES


@pytest.mark.timeout(1200)
def test_a_run_killed_at_any_point_is_run_on_with_one_charge_and_one_clip_for_each_row(site: Site, tell: Tell) -> None:
    """A third of the cover of the crash matrix, another one at each change; with `--cover`, all of it.

    Real runs die by SIGKILL; the audit, the store and every record then agree.
    """
    chains = cover() if COVER else share_of_cover(draw_share())
    verdicts = run_chains(site, chains, JOBS, lambda _: None)
    figures = total(verdict.figures for verdict in verdicts)
    tell("crash cover", figures)
    assert not all_wrong(verdicts), "\n".join(all_wrong(verdicts))
    assert figures.points == set(POINTS)
    assert figures.kills == figures.cells == sum(len(chain.cells) for chain in chains)
    assert figures.rows == figures.charges == figures.stored
    assert figures.duplicates == figures.lost == 0
    assert figures.unknown, "no kill left an outcome that only a person can know: not killed where it matters"
    assert figures.ended_links, "no run that went on met a link that had ended"


@pytest.mark.cover
@pytest.mark.timeout(600)
def test_a_second_attempt_that_is_killed_is_run_on_and_never_meets_the_files_of_the_first(
    site: Site, tell: Tell
) -> None:
    """Every row was paid for, half stored, and then expired: each clip is wholly its own task's, in its own folder."""
    verdicts = run_chains(site, second_attempts(full=False), JOBS, lambda _: None)
    figures = total(verdict.figures for verdict in verdicts)
    tell("second attempts", figures)
    assert not all_wrong(verdicts), "\n".join(all_wrong(verdicts))
    assert figures.kills == figures.cells
    assert figures.rows == figures.stored
    assert figures.charges == 2 * figures.rows
    assert figures.duplicates == figures.lost == 0


@pytest.mark.cover
@pytest.mark.timeout(600)
def test_across_a_border_no_row_is_paid_for_twice_and_none_is_lost(site: Site, tell: Tell) -> None:
    """After the kills the key is another one, or for a while another account's; the ledger is gone, or has company."""
    verdicts = run_chains(site, borders(full=False), JOBS, lambda _: None)
    figures = total(verdict.figures for verdict in verdicts)
    tell("borders", figures)
    assert not all_wrong(verdicts), "\n".join(all_wrong(verdicts))
    assert figures.kills == figures.cells
    assert figures.rows == figures.charges == figures.stored
    assert figures.duplicates == figures.lost == 0


@pytest.mark.cover
@pytest.mark.timeout(900)
def test_when_the_daemon_or_its_code_server_dies_a_new_one_stores_every_row(site: Site, tell: Tell) -> None:
    """In the tick, before the launch, after it, or all at once: the next daemon goes on by itself."""
    cases = [case for case in daemon_cases(full=False) if FULL or case.name in DEATHS_IN_CI]
    assert len(cases) == (5 if FULL else 3)
    wrong, figures = run_cases(site, cases, JOBS)
    tell("daemon", figures)
    assert not wrong, "\n".join(wrong)
    assert figures.kills == figures.cells
    assert figures.rows == figures.charges == figures.stored
