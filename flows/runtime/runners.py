"""Who works on the shards: threads of this process, a Dask cluster, or a Ray cluster.

In: a recipe's `task_runner`. Out: a task runner of Prefect's. An address in the environment names a
cluster that runs; without one, its processes are started on this machine and end with the build.
"""

import logging
import os
from typing import Any

from prefect.task_runners import ThreadPoolTaskRunner

from flows.runtime.cluster import DASK, RAY, absent, check_address
from schemas.recipe import Recipe
from support.errors import UserError

PROCESSES = os.cpu_count() or 2
THREADS: Any = ThreadPoolTaskRunner(max_workers=PROCESSES)
CONNECT_SECONDS = 10


def runner_of(recipe: Recipe) -> Any:
    """The runner that the recipe asks for; UserError where it is not to be had."""
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

    # Dask goes on after a lost worker, and would tell of each of its tasks; the modules that it
    # configures by name do not ask their parent.
    for name in [
        name for name in logging.root.manager.loggerDict if name.startswith("distributed")
    ]:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if address := os.environ.get(DASK):
        try:
            Client(address, timeout=CONNECT_SECONDS, set_as_default=False).close()  # type: ignore[no-untyped-call]
        except (OSError, ValueError) as error:
            raise absent("dask", error) from None
        return DaskTaskRunner(address=address)
    dask.config.set({"distributed.worker.daemon": False})  # a worker has the verifier's processes
    workers = {"n_workers": PROCESSES, "threads_per_worker": 1, "dashboard_address": None}
    return DaskTaskRunner(cluster_kwargs=workers)


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers
    from prefect_ray import RayTaskRunner  # type: ignore[import-untyped]

    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address := os.environ.get(RAY):
        return RayTaskRunner(address=address, init_kwargs=quiet)
    local = {"num_cpus": PROCESSES, "include_dashboard": False, **quiet}
    return RayTaskRunner(address="local", init_kwargs=local)
