"""What accounts have of images is remembered alike on every database, and never with a signature."""

from __future__ import annotations

import pytest

from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.ledger.staged import StagedImage

KITE = StagedImage("pixwith/live", "sha256:1", "https://cdn.example.org/1.png", 200.0, 100.0)
LATER = StagedImage("pixwith/live", "sha256:1", "https://cdn.example.org/2.png", None, 300.0)


def test_the_newest_copy_counts_and_each_account_has_its_own(ledger: Ledger):
    """Kept in the place of the one before, and forgotten on demand."""
    assert ledger.staged.find(KITE.account, KITE.digest) is None
    ledger.staged.keep(KITE)
    assert ledger.staged.find(KITE.account, KITE.digest) == KITE
    assert ledger.staged.find("pixwith/other", KITE.digest) is None
    ledger.staged.keep(LATER)
    assert ledger.staged.find(KITE.account, KITE.digest) == LATER
    ledger.staged.forget(KITE.account, KITE.digest)
    assert ledger.staged.find(KITE.account, KITE.digest) is None


@pytest.mark.parametrize(
    "reference", ["https://b.example.org/1.png?X-Amz-Signature=1", "https://me:word@example.org/1.png"]
)
def test_a_reference_that_is_a_permission_is_not_kept(ledger: Ledger, reference: str):
    """Whoever reads the ledger may not read the image by it."""
    with pytest.raises(ValueError, match="not kept"):
        ledger.staged.keep(StagedImage("pixwith/live", "sha256:1", reference, None, 1.0))
    assert ledger.staged.find("pixwith/live", "sha256:1") is None
