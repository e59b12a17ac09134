"""The providers' APIs: one file each, and one line in APIS."""

from pixverse_dagster.simulator.apis.highway import Highway
from pixverse_dagster.simulator.apis.pixwith import Pixwith
from pixverse_dagster.simulator.apis.runware import Runware

APIS = (Highway, Runware, Pixwith)
