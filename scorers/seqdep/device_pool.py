"""Scorers on all devices of a machine: one in this process, or a process for each of several.

In: a model and devices. Out: `Scorers`, whose `score` may be called from several threads at once.
Each call goes to one free device, so that its batches hold only its own items. Its result depends
on the device only by rounding.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from queue import SimpleQueue
from typing import NamedTuple

import torch

from scorers.seqdep import loader, measurement
from scorers.seqdep.causal_lm import Scorer
from scorers.seqdep.measurement import Measured, ScoredInstance, SeqDepSettings
from support.capacity import raise_if_out_of_memory
from support.errors import UserError, first_line


class ScorerIdentity(NamedTuple):
    """The facts about a scorer that are written into records."""

    name: str
    revision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """Which model is loaded, and how; the fields are arguments of `load_scorer`.

    `dtype` is the name of a type, such as bfloat16; empty: that of the device.
    """

    path: str
    chat: bool = True
    trust_remote_code: bool = False
    dtype: str = ""

    def load(self, device: str | None) -> Scorer:
        """The scorer on a device; UserError if the device cannot be used."""
        try:
            return loader.load_scorer(
                self.path,
                device=device,
                dtype=getattr(torch, self.dtype) if self.dtype else None,
                chat=self.chat,
                trust_remote_code=self.trust_remote_code,
            )
        except (RuntimeError, AssertionError) as error:
            raise_if_out_of_memory(error)
            raise UserError(
                f"scorer device {device}: cannot be used ({first_line(error)})"
            ) from None


def visible_devices() -> tuple[str, ...]:
    """Every GPU that this process may use, else the CPU."""
    return tuple(f"cuda:{i}" for i in range(torch.cuda.device_count())) or ("cpu",)


class Scorers:
    """The model on each of `devices` (default: `visible_devices`); `close` ends its processes."""

    def __init__(self, model: ModelSpec, devices: Sequence[str] | None = None) -> None:
        devices = tuple(devices or visible_devices())
        self._own = model.load(devices[0]) if len(devices) == 1 else None
        self._processes = [
            ProcessPoolExecutor(
                1, mp_context=get_context("spawn"), initializer=_start, initargs=(model, device)
            )
            for device in (devices if self._own is None else ())
        ]
        self._free: SimpleQueue[ProcessPoolExecutor] = SimpleQueue()
        try:
            futures = [process.submit(_identity) for process in self._processes]
            self.facts, *_ = [one.result() for one in futures] or [_identity(self._own)]
        except BaseException:
            self.close()
            raise
        for process in self._processes:
            self._free.put(process)

    def score(
        self,
        items: Sequence[ScoredInstance],
        settings: SeqDepSettings,
        *,
        progress: Callable[[int], None] | None = None,
    ) -> list[Measured]:
        """The same as `measurement.measure`, on a free device; UserError if its process died."""
        if self._own is not None:
            return measurement.measure(self._own, items, settings, progress=progress)
        process = self._free.get()
        try:
            measured = process.submit(_score, items, settings).result()
        except BrokenProcessPool:
            raise UserError(
                f"scorer {self.facts.name}: its process was killed, perhaps for want of memory; "
                f"lower scorer.batch_tokens and run the same command again"
            ) from None
        finally:
            self._free.put(process)
        if progress:
            progress(len(items))
        return measured

    def close(self) -> None:
        """End the processes, if there are any."""
        for process in self._processes:
            process.shutdown(wait=False, cancel_futures=True)


_scorer: Scorer | Exception | None = None  # that this process has loaded, or why it has not


def _start(model: ModelSpec, device: str) -> None:
    global _scorer
    try:
        _scorer = model.load(device)
    except Exception as error:  # an initialiser that raises would only break the pool
        _scorer = error


def _identity(scorer: Scorer | Exception | None = None) -> ScorerIdentity:
    """The identity of a scorer (default: this process's); raises the error of its loading."""
    scorer = scorer or _scorer
    if isinstance(scorer, Exception):
        raise scorer
    assert scorer is not None
    return ScorerIdentity(scorer.name, scorer.revision)


def _score(items: Sequence[ScoredInstance], settings: SeqDepSettings) -> list[Measured]:
    assert isinstance(_scorer, Scorer)
    return measurement.measure(_scorer, items, settings)
