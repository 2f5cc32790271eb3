"""The requests that are being worked on, over both protocols: how many at a time, how long each, and where they run."""

import asyncio
import time
from collections.abc import MutableSequence
from concurrent.futures import ThreadPoolExecutor

from servable import RequestError, Servable, Work

import numpy as np

QUICK = 0.001  # seconds: less than handing a run to another thread is worth


class Gate:
    """Counts requests, and calculates for them; to be used in the event loop's thread."""

    def __init__(self, most: int, counts: MutableSequence[int], place: int) -> None:
        """Begins with none.

        Args:
            counts: how many requests each worker works on, in memory that all share.
            place: of this worker's number there.
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
        """Whether a run is expected to take less time than handing it to another thread is worth.

        As long as the last one of about as many rows took. The processor's time is measured, for that of the clock says
        what else the machine was doing; the first run is not quick, whatever it takes.
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
        """Calculates here where that is quick, otherwise in a thread.

        Raises:
            RequestError: it cannot be calculated, or the time is over.
        """
        if self.is_quick(model, work):
            return self.calculate(model, work, seconds)
        future = asyncio.get_running_loop().run_in_executor(self.pool, self._run_kept, model, work, seconds)
        try:
            return await asyncio.wait_for(asyncio.shield(future), seconds)
        except asyncio.TimeoutError:  # noqa: UP041  (another class than TimeoutError in Python 3.10)
            raise RequestError("DEADLINE_EXCEEDED", f"not done within {seconds:g} s") from None

    def _run_kept(self, model: Servable, work: Work, seconds: float) -> dict[str, np.ndarray]:
        """Goes on to its end also when nobody waits for it any more: till then the version must stay."""
        with model.in_use() as kept:
            if kept is None:
                raise RequestError(
                    "NOT_FOUND", f"no such version: {model.version} of model {model.name} (it is unloaded)"
                )
            return self.calculate(model, work, seconds)
