"""Threads of the exporter in this process."""

import threading


def running(name: str) -> int:
    """How many of one name run."""
    return sum(thread.name == name for thread in threading.enumerate())


def ended(name: str, seconds: float = 30) -> bool:
    """Wait until none of a name runs."""
    never = threading.Event()
    for _ in range(round(seconds * 100)):
        if not running(name):
            return True
        never.wait(0.01)
    return False
