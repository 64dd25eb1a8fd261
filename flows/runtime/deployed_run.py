"""How a run of a deployment ends: in one sentence, later again, or when its time is over.

The environment of the run says how often it is tried again and how long it may take. `prefect.yaml`
sets it for each deployment (`job_variables.env`).
"""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any, ParamSpec
from uuid import UUID

from prefect import State, get_client, get_run_logger, runtime
from prefect.exceptions import Pause
from prefect.logging.handlers import APILogHandler
from prefect.states import AwaitingRetry, Failed

from flows.runtime.commands import stop_commands
from support.errors import PolytraceError, StoppedError
from support.signals import exit_now

RETRIES = "POLYTRACE_RETRIES"
RETRY_DELAY = "POLYTRACE_RETRY_DELAY_SECONDS"
TIMEOUT = "POLYTRACE_TIMEOUT_SECONDS"
# A worker that took the run again while its process still ends would call the new start crashed.
SHORTEST_RETRY_DELAY = 60.0

Arguments = ParamSpec("Arguments")


def seconds_allowed() -> float | None:
    """How long a run may take, or None if no limit is set."""
    return float(os.environ.get(TIMEOUT) or 0) or None


def in_one_sentence(work: Callable[Arguments, str]) -> Callable[Arguments, str | State[str]]:
    """If `work` raises an error for the user, the flow run ends with its message alone.

    An error after which the same command goes on (exit code 3) gives the run back to the workers,
    so that it neither waits in memory nor holds its place among the deployment's runs.
    """

    @wraps(work)
    def wrapped(*args: Arguments.args, **kwargs: Arguments.kwargs) -> str | State[str]:
        try:
            return work(*args, **kwargs)
        except PolytraceError as error:
            if may_be_tried_again(error):
                raise _given_back(str(error)) from None
            return Failed(message=str(error))

    return wrapped


def may_be_tried_again(error: PolytraceError) -> bool:
    """Whether the error may pass, and the run has been started seldom enough."""
    passes = error.exit_code == StoppedError.exit_code
    starts: int = runtime.flow_run.run_count
    return (
        passes and runtime.deployment.id is not None and starts <= int(os.environ.get(RETRIES) or 0)
    )


def _given_back(message: str) -> Pause:
    """Put this run into the queue of the workers again; what then ends its process."""
    get_run_logger().warning("%s; it is tried again", message)
    asked = float(os.environ.get(RETRY_DELAY) or 300)
    delay = timedelta(seconds=max(SHORTEST_RETRY_DELAY, asked))
    state: State[Any] = AwaitingRetry(scheduled_time=datetime.now(UTC) + delay, message=message)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(runtime.flow_run.id), state)
    return Pause(message, state=state)


def end_after_timeout(flow: Any, flow_run: Any, state: State[Any]) -> None:
    """End this process if its run has timed out; Prefect would wait for the threads at work."""
    if state.name == "TimedOut":
        APILogHandler().flush()
        exit_now(StoppedError.exit_code, "timed out", stop_commands)
