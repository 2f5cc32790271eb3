"""The requests that are being worked on, over both protocols: how many at a time, and how long each."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from servable import RequestError, Servable


class Gate:
    """Counts requests, and calculates for them; to be used in the event loop's thread."""

    def __init__(self, most: int) -> None:
        self.most, self.count = most, 0
        self.pool = ThreadPoolExecutor(most)

    def __enter__(self) -> None:  # noqa: D105
        if self.count >= self.most:
            raise RequestError(
                "RESOURCE_EXHAUSTED", f"too many requests in flight: {self.count} (try again in a second)"
            )
        self.count += 1

    def __exit__(self, *_: object) -> None:  # noqa: D105
        self.count -= 1

    async def run(
        self, model: Servable, signature: str, feed: dict[str, np.ndarray], rows: int
    ) -> dict[str, np.ndarray]:
        """Calculates here where that is quick, else in a thread. Raises RequestError, also when the time is over."""
        if model.is_quick(rows):
            return model.run(signature, feed, rows)
        with model.in_use() as kept:
            if kept is None:
                raise RequestError(
                    "NOT_FOUND", f"no such version: {model.version} of model {model.name} (it is unloaded)"
                )
            future = asyncio.get_running_loop().run_in_executor(self.pool, _run_kept, model, signature, feed, rows)
            try:
                return await asyncio.wait_for(asyncio.shield(future), model.limits.seconds)
            except asyncio.TimeoutError:  # noqa: UP041  (another class than TimeoutError in Python 3.10)
                raise RequestError("DEADLINE_EXCEEDED", f"not done within {model.limits.seconds} s") from None


def _run_kept(model: Servable, signature: str, feed: dict[str, np.ndarray], rows: int) -> dict[str, np.ndarray]:
    """Goes on to its end also when nobody waits for it any more: till then the version must stay."""
    with model.in_use():
        return model.run(signature, feed, rows)
