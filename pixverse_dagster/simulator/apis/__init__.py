"""The simulated APIs. Each is one file and one entry in APIS."""

from pixverse_dagster.simulator.apis.highway import Highway
from pixverse_dagster.simulator.apis.pixwith import Pixwith
from pixverse_dagster.simulator.apis.runware import Runware

APIS = (Highway, Runware, Pixwith)
