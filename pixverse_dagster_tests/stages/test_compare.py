"""One row at several models: read, recorded and paid for as rows of their own; and the sample images of a simulator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pixverse_dagster.core.provenance import Origin, build_manifest
from pixverse_dagster.ledger.engine import open_engine
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.stages.plan import plan_rows
from pixverse_dagster.stages.read import TableReading, read_table, record_table
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.submit import submit_rows
from pixverse_dagster.tables import ValueTable
from pixverse_dagster_tests.harness.factories import make_session
from pixverse_dagster_tests.harness.images import png
from pixverse_dagster_tests.harness.ledgers import ledger_in
from pixverse_dagster_tests.harness.servers import Simulator, StartSimulator

V6, PIXWITH = "highway/pixverse-v6-i2v", "pixwith/pixverse-v5"
OTHERS = ["kite~runware-pixverse-v4.5", "kite~pixwith-pixverse-v5"]


@pytest.fixture
def provider(simulator: StartSimulator) -> Simulator:
    return simulator()


@pytest.fixture
def session(tmp_path: Path, provider: Simulator) -> Iterator[Session]:
    engine = open_engine(ledger_in(tmp_path))
    with make_session(Ledger(engine), provider.url) as session:
        yield with_options(session, image_base=str(tmp_path), read_image_urls=True, on_unsupported="drop")
    engine.dispose()


def with_options(session: Session, **options: object) -> Session:
    changed = session.options.model_copy(update=options)
    return replace(session, pipeline=replace(session.pipeline, options=changed))


def read(session: Session, image: str = "chelsea.png") -> TableReading:
    row = {"id": "kite", "model": V6, "prompt": "a kite", "image": image, "audio": True, "duration_seconds": 8}
    reading = read_table(session, ValueTable([row]))
    record_table(session, reading)
    return reading


def test_comparing_pays_for_the_others_alone_and_only_once(session: Session, provider: Simulator):
    """The row's own clip is the one that it was; reading again changes nothing; manifests say what is left out."""
    read(session)
    assert len(list(submit_rows(session, ["kite"]))) == 1
    compared = with_options(session, compare=["runware/pixverse-v4.5", V6, PIXWITH])
    for _ in range(2):
        reading = read(compared)
        assert [row.id for row in reading.rows] == ["kite", *OTHERS]
        assert not reading.problems
        assert len(list(submit_rows(compared, ["kite", *OTHERS]))) == 3
    assert sorted(task["model"] for task in provider.tasks()) == sorted([V6, "runware/pixverse-v4.5", PIXWITH])
    plan = plan_rows(compared, read(compared).rows)
    assert [line.note for line in plan.lines] == ["", "", ""]
    origin = Origin("ledger", "run", "0", 0.0)
    for task in compared.ledger.tasks.find(compared.pipeline.name):
        manifest = build_manifest(task, [task], [], origin)
        assert [one.field for one in manifest.dropped] == ([] if task.row == "kite" else ["audio"])


def test_a_plan_says_what_would_be_left_out(session: Session):
    """Of each row, before anything is paid."""
    compared = with_options(session, compare=[PIXWITH])
    notes = {line.row: line.note for line in plan_rows(compared, read(compared).rows).lines}
    assert notes == {"kite": "", "kite~pixwith-pixverse-v5": "left out: audio"}


def test_a_picture_beside_the_table_comes_before_a_simulators_sample(session: Session, tmp_path: Path):
    """A project from the scaffold reads the sample table's images, and those that a person puts there."""
    (sample,) = read(with_options(session, image_base=None)).rows[0].images.values()
    assert (sample.source.partition("/samples/")[2], sample.width) == ("chelsea.png", 451)
    (tmp_path / "chelsea.png").write_bytes(png(320, 310))
    (own,) = read(session).rows[0].images.values()
    assert (own.source, own.width) == ("chelsea.png", 320)


def test_a_picture_that_is_nowhere_is_looked_for_beside_the_table(session: Session):
    """The message is about the file that was meant, and not about a simulator."""
    ((problem,),) = [read(session, "chelsae.png").problems]
    assert "samples" not in problem.message
