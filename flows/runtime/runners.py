"""The task runner of a build: threads of this process, a Dask cluster, or a Ray cluster.

In: a recipe's `task_runner`. Out: a task runner of Prefect. The environment can hold the address of
a running cluster; without it, one is started on this machine and ends with the build.
"""

import logging
import os
from typing import Any

from prefect.settings import get_current_settings
from prefect.task_runners import ThreadPoolTaskRunner

from flows.runtime.cluster import (
    WORKER_SECONDS,
    absent,
    address_of,
    check_address,
    check_reach,
    idle,
)
from schemas.recipe import Recipe
from support.capacity import require_files
from support.errors import UserError

PROCESSES = os.cpu_count() or 2
THREADS: Any = ThreadPoolTaskRunner(max_workers=PROCESSES)
CONNECT_SECONDS = 10
# Files that the process of a cluster of its own opens: measured, and as many more as a build needs.
DASK_FILES, DASK_WORKER_FILES = 44, 10


def runner_of(recipe: Recipe) -> Any:
    """The runner that the recipe asks for; UserError if it is not installed or does not answer."""
    check_address(recipe.task_runner)
    makers = {"threads": lambda: THREADS, "dask": _dask, "ray": _ray}
    try:
        return makers[recipe.task_runner]()
    except ImportError:
        name = recipe.task_runner
        raise UserError(
            f'task_runner: {name}: not installed; pip install -e ".[{name}]" in the checkout'
        ) from None


def _dask() -> Any:
    import dask
    from distributed import Client
    from prefect_dask.task_runners import DaskTaskRunner

    # Dask continues after a lost worker, and would log each of its tasks; the loggers that it
    # configures by name do not use their parent's level.
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("distributed"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    if address := address_of("dask"):
        try:
            client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)  # type: ignore[no-untyped-call]
        except (OSError, ValueError) as error:
            raise absent("dask", error) from None
        try:
            client.wait_for_workers(1, timeout=WORKER_SECONDS)
            if (server := get_current_settings().api.url) is not None:
                check_reach(server, client.scheduler_info()["workers"])
        except TimeoutError:
            raise idle() from None
        finally:
            client.close()  # type: ignore[no-untyped-call]
        return DaskTaskRunner(address=address)
    require_files(DASK_FILES + DASK_WORKER_FILES * PROCESSES)
    dask.config.set({"distributed.worker.daemon": False})  # a worker has the verifier's processes
    workers = {"n_workers": PROCESSES, "threads_per_worker": 1, "dashboard_address": None}
    return DaskTaskRunner(cluster_kwargs=workers)


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage statistics to its makers
    from prefect_ray import RayTaskRunner  # type: ignore[import-untyped]

    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address := address_of("ray"):
        return RayTaskRunner(address=address, init_kwargs=quiet)
    local = {"num_cpus": PROCESSES, "include_dashboard": False, **quiet}
    return RayTaskRunner(address="local", init_kwargs=local)
