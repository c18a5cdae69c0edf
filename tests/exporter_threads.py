"""Threads of the exporter in this process."""

import threading


def running(name: str) -> int:
    """How many of one name run."""
    return sum(thread.name == name for thread in threading.enumerate())


def ended(name: str, seconds: float = 30, *, but: int = 0) -> bool:
    """Wait until no more than so many of a name run."""
    never = threading.Event()
    for _ in range(round(seconds * 100)):
        if running(name) <= but:
            return True
        never.wait(0.01)
    return False
