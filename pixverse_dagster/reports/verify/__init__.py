"""Comparing ledger, store, manifests and Dagster, and naming every discrepancy. Changes nothing."""

from pixverse_dagster.reports.verify.findings import Discrepancy, Kind, Repair, Side, Verification
from pixverse_dagster.reports.verify.kinds import KINDS
from pixverse_dagster.reports.verify.run import verify

__all__ = ["KINDS", "Discrepancy", "Kind", "Repair", "Side", "Verification", "verify"]
