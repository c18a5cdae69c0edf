"""Threads of the exporter's that run in this process."""

import gc
import threading

from exporter.threads import _Run

_NEVER = threading.Event()


def living(name: str) -> int:
    """How many of one name there are."""
    return sum(isinstance(each, _Run) and each.name == name and not each.ended for each in gc.get_objects())


def gone(name: str, seconds: float = 30) -> bool:
    """Wait until there is none."""
    for _ in range(round(seconds * 100)):
        if not living(name):
            return True
        _NEVER.wait(0.01)
    return False


def no_thread(*_: object) -> int:
    """What the system says where no thread is to be had; takes the place of `_thread.start_new_thread`."""
    raise RuntimeError("can't start new thread")
