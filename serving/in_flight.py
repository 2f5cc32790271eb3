"""The requests in progress over both protocols: how many at a time, how long each may take, and where they run."""

import asyncio
import time
from collections.abc import MutableSequence
from concurrent.futures import ThreadPoolExecutor

from servable import RequestError, Servable, Work

import numpy as np

QUICK = 0.001  # seconds: shorter runs are not worth handing to another thread


class Gate:
    """Counts requests and runs models for them. Use it only in the event loop's thread."""

    def __init__(self, most: int, counts: MutableSequence[int], place: int) -> None:
        """Starts with no requests.

        Args:
            counts: how many requests each worker is working on, in memory that all workers share.
            place: the index of this worker in `counts`.
        """
        self.most, self.counts, self.place = most, counts, place
        self.pool = ThreadPoolExecutor(most)

    def __enter__(self) -> None:  # noqa: D105
        if self.counts[self.place] >= self.most:
            raise RequestError(
                "RESOURCE_EXHAUSTED", f"too many requests in flight: {self.most} (try again in a second)"
            )
        self.counts[self.place] += 1

    def __exit__(self, *_: object) -> None:  # noqa: D105
        self.counts[self.place] -= 1

    def is_quick(self, model: Servable, work: Work) -> bool:
        """Whether a run is expected to be too short to be worth handing to another thread.

        The estimate is the time of the last run with about as many rows. Processor time is measured, because wall time
        includes what else the machine was doing. The first run never counts as quick.
        """
        return model.taken.get((work.signature, work.rows.bit_length()), QUICK) < QUICK

    def calculate(self, model: Servable, work: Work, seconds: float) -> dict[str, np.ndarray]:
        """Runs the model in this thread. Raises RequestError."""
        started = time.thread_time()
        try:
            return model.run(work, time.monotonic() + seconds)
        finally:
            model.taken[work.signature, work.rows.bit_length()] = time.thread_time() - started

    async def run(self, model: Servable, work: Work, seconds: float) -> dict[str, np.ndarray]:
        """Runs the model here if that is quick, otherwise in a thread.

        Raises:
            RequestError: the outputs cannot be calculated, or the time is over.
        """
        if self.is_quick(model, work):
            return self.calculate(model, work, seconds)
        future = asyncio.get_running_loop().run_in_executor(self.pool, self._run_kept, model, work, seconds)
        try:
            return await asyncio.wait_for(asyncio.shield(future), seconds)
        except asyncio.TimeoutError:  # noqa: UP041  (not the same class as TimeoutError in Python 3.10)
            raise RequestError("DEADLINE_EXCEEDED", f"not done within {seconds:g} s") from None

    def _run_kept(self, model: Servable, work: Work, seconds: float) -> dict[str, np.ndarray]:
        """Runs to its end even if nobody waits for it any more; the version must stay loaded until then."""
        with model.in_use() as kept:
            if kept is None:
                raise RequestError(
                    "NOT_FOUND", f"no such version: {model.version} of model {model.name} (it is unloaded)"
                )
            return self.calculate(model, work, seconds)
