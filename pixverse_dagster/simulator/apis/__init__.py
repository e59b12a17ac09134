"""The simulated APIs. Each is one file, with an import and an entry in APIS here."""

from pixverse_dagster.simulator.apis.highway import Highway
from pixverse_dagster.simulator.apis.pixwith import Pixwith
from pixverse_dagster.simulator.apis.runware import Runware

APIS = (Highway, Runware, Pixwith)
