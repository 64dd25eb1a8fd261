"""The vLLM servers of a build: the recipe's `serve` section in, base URLs out.

There is one server for each group of GPUs, supervised by a thread (`server.py`). All are ready when
`start` returns, are started again when they die or hang, and have ended when `close` returns or
this process ends, in whatever way.
"""

import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tqdm import tqdm

from curation.vllm_servers.launch import LaunchSpec, check_vllm, visible_gpus
from curation.vllm_servers.server import HealthTimeouts, Server
from schemas.serve import Serve
from support.errors import ShortError, UserError

__all__ = ["HealthTimeouts", "Servers", "check_interpreter", "launch_specs"]

LOOK_SECONDS = 0.2


class Servers:
    """The vLLM servers of a build, as a context manager that leaves none behind.

    `model` is a directory or hub id, `name` what the servers call it, `logs` the folder of
    `server-N.log`. `gpus` are names for CUDA_VISIBLE_DEVICES (default: the visible ones). Raises
    UserError where the recipe asks for an interpreter, GPUs or a host that this machine lacks.
    """

    def __init__(
        self,
        spec: Serve,
        model: str,
        name: str,
        logs: Path,
        *,
        gpus: Sequence[str] | None = None,
        timeouts: HealthTimeouts | None = None,
    ) -> None:
        self._model = model
        self._logs = logs
        self._is_closed = False
        specs = launch_specs(spec, model, name, logs, visible_gpus() if gpus is None else gpus)
        ports: set[int] = set()
        self._servers = [Server(one, timeouts or HealthTimeouts(), ports, _say) for one in specs]

    @property
    def failure(self) -> str | None:
        """Why the first server failed, once all have used up their restarts; None before."""
        failures = [one.failure for one in self._servers]
        return failures[0] if all(failures) else None

    def start(self) -> tuple[str, ...]:
        """Start all servers; returns their base URLs, once each has answered /health.

        Raises UserError for a server that ends before it has answered, ShortError for one that does
        not answer in time; all servers are ended then.
        """
        count = len(self._servers)
        kind = "server" if count == 1 else "servers"
        _say(f"starting {count} vLLM {kind} of {self._model}; log {self._logs / 'server-*.log'}")
        began = time.monotonic()
        try:
            for server in self._servers:
                server.start()
            with _clock(count) as clock:
                while (ready := sum(one.ready.is_set() for one in self._servers)) < count:
                    self._raise_error()
                    clock.n = ready
                    clock.refresh()
                    time.sleep(LOOK_SECONDS)
        except BaseException:  # Ctrl-C as well
            self.close()
            raise
        urls = tuple(server.url for server in self._servers)
        _say(f"ready after {time.monotonic() - began:.0f} s: {' '.join(urls)}")
        return urls

    def close(self) -> None:
        """End all servers and their processes; calling it again does nothing."""
        self._is_closed = True
        for server in self._servers:
            server.ask_to_end()
        for server in self._servers:
            server.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _raise_error(self) -> None:
        for server in self._servers:
            if server.error is not None:
                raise server.error
            if server.failure is not None:
                raise ShortError(server.failure)
        if self._is_closed:
            raise ShortError("serve: the servers were closed while they started")


def check_interpreter(spec: Serve) -> None:
    """UserError where the interpreter that is to run the servers is missing or has no vLLM."""
    check_vllm(_interpreter(spec.python))


def launch_specs(
    spec: Serve, model: str, name: str, logs: Path, gpus: Sequence[str]
) -> tuple[LaunchSpec, ...]:
    """The specification of every server, each with GPUs of its own if there are any."""
    groups = _gpu_groups(spec, gpus)
    parallel = ("--tensor-parallel-size", str(spec.gpus_per_server))
    return tuple(
        LaunchSpec(
            number=number,
            python=_interpreter(spec.python),
            model=model,
            name=name,
            host=spec.host,
            args=(*(parallel if spec.gpus_per_server > 1 else ()), *spec.args),
            environment={"CUDA_VISIBLE_DEVICES": ",".join(group)} if group else {},
            log=logs / f"server-{number}.log",
            restarts=spec.restarts,
            start_seconds=spec.start_seconds,
        )
        for number, group in enumerate(groups)
    )


def _gpu_groups(spec: Serve, gpus: Sequence[str]) -> list[Sequence[str]]:
    """The GPUs of each server, in order; empty groups on a machine without any."""
    size = spec.gpus_per_server
    if not gpus:
        return [()] * (spec.servers or 1)
    count = spec.servers or len(gpus) // size
    if count * size > len(gpus) or not count:
        field = "gpus_per_server" if size > len(gpus) else "servers"
        raise UserError(
            f"serve.{field}: {max(count, 1) * size} GPUs are wanted, but {len(gpus)} can be seen "
            f"({','.join(gpus)}); ask for fewer, or name more in CUDA_VISIBLE_DEVICES"
        )
    return [gpus[i * size : (i + 1) * size] for i in range(count)]


def _interpreter(python: str | None) -> str:
    """The interpreter's path; the link of a virtual environment is not followed."""
    wanted = sys.executable if python is None else os.path.expanduser(python)
    program = shutil.which(wanted)
    if program is None:
        raise UserError(
            f"serve.python: {wanted!r} is no program that can be run; name the interpreter of the "
            f"environment that holds vLLM, such as /path/to/environment/bin/python"
        )
    return os.path.abspath(program)


def _say(line: str) -> None:
    """A line on standard error that breaks no progress bar."""
    tqdm.write(line, file=sys.stderr)


def _clock(servers: int) -> "tqdm[None]":
    """A line on a terminal that says how many servers are ready, and how long it took so far."""
    return tqdm(
        total=servers,
        bar_format="vLLM: {n_fmt} of {total_fmt} ready after {elapsed}",
        file=sys.stderr,
        leave=False,
        disable=not sys.stderr.isatty(),
    )
