"""Waits for a machine with nothing else to do: times of a busy one hold nowhere else."""

import os
import time
from collections.abc import Callable
from typing import Final

LOAD_MAX: Final = 0.5
"""Load average of the last minute up to which a machine is quiet."""

PATIENCE_SECONDS: Final = 600.0
PAUSE_SECONDS: Final = 10.0


def load_of_others(
    patience: float = PATIENCE_SECONDS,
    load: Callable[[], float] = lambda: os.getloadavg()[0],
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> float | None:
    """Wait until the machine is quiet; the load where it is not in time, else `None`."""
    ends = now() + patience
    while (loaded := load()) > LOAD_MAX:
        if now() >= ends:
            return loaded
        sleep(PAUSE_SECONDS)
    return None
