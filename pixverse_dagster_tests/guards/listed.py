"""All guards."""

from pixverse_dagster_tests.guards.guard import Guard
from pixverse_dagster_tests.guards.outside import OUTSIDE
from pixverse_dagster_tests.guards.paying import PAYING
from pixverse_dagster_tests.guards.settling import SETTLING
from pixverse_dagster_tests.guards.storing import STORING

GUARDS: tuple[Guard, ...] = (*PAYING, *SETTLING, *STORING, *OUTSIDE)
