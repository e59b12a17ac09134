"""A simulator of the providers' APIs, for development and for tests of load and charging. May import: nothing.

It implements the protocols of HighwayAPI, Runware and Pixwith as they are documented: it checks keys, refuses every
body that breaks a documented rule, charges at acceptance and renders playable clips. It records what was charged, and
injects faults on request. It shares no code with the rest of `pixverse_dagster`: otherwise a misreading of a provider's
documents could be on both sides, and no test would find it.
"""

from pixverse_dagster.simulator.app import create_app, serve
from pixverse_dagster.simulator.faults import KINDS, Settings, parse_fault

__all__ = ["KINDS", "Settings", "create_app", "parse_fault", "serve"]
