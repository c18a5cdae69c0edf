"""Daemon threads: none of them keeps the process from ending."""

import threading
from collections.abc import Callable
from typing import Final

_STARTING: Final = threading.RLock()
"""Guards the stack size, which is set for the process. A signal handler may start a thread amid a start."""


def start(work: Callable[[], None], name: str, stack_bytes: int = 0) -> threading.Thread:
    """Run `work` in a daemon thread. An exception that it raises is logged (`cli.logs`).

    Args:
        work: what to do.
        name: name of the thread, for the log.
        stack_bytes: size of its stack; 0: the system's default.

    Raises:
        RuntimeError: the system has no thread left.
    """
    thread = threading.Thread(target=work, name=name, daemon=True)
    with _STARTING:
        before = threading.stack_size(stack_bytes)
        try:
            thread.start()
        finally:
            threading.stack_size(before)
    return thread
