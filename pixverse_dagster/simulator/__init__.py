"""The providers' APIs on this machine, for development, load and money tests. May import: nothing.

It speaks HighwayAPI's, Runware's and Pixwith's protocols as their contracts have them, checks keys, refuses every body
that breaks a documented rule, charges at acceptance, renders playable clips, keeps an audit, and misbehaves on demand.
It shares no code with the rest of `pixverse_dagster`, so that a misreading on one side does not cancel out on the
other.
"""

from pixverse_dagster.simulator.app import create_app, serve
from pixverse_dagster.simulator.faults import KINDS, Settings, parse_fault

__all__ = ["KINDS", "Settings", "create_app", "parse_fault", "serve"]
