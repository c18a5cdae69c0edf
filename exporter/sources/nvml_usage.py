"""How much each process used a card's multiprocessors since the last read.

The driver tells one record for each process that used any since a timestamp, averaged over that time.
nvmlDeviceGetProcessesUtilizationInfo tells the same and the engines for JPEG and optical flow besides:
no money is divided by those, and drivers before 550 do not have it.
"""

from typing import Any, Final

from exporter.readings import Gpu
from exporter.sources.nvml_answers import Answers
from exporter.sources.nvml_library import NOT_FOUND
from exporter.units import NANOSECONDS_PER_MICROSECOND, Instant

CALL: Final = "nvmlDeviceGetProcessUtilization"

LEEWAY: Final = 1_000_000
"""Microseconds that a record may lie ahead of our clock; beyond it is not of this time."""


def usage(
    answers: Answers, gpu: Gpu, handle: Any, pids: set[int], mark: int | None, now: Instant
) -> tuple[dict[int, float] | None, int | None]:
    """Mean use of the multiprocessors by process, 0 to 1, since `mark`.

    Args:
        answers: by which the GPU is asked.
        gpu: its identity.
        handle: of the GPU.
        pids: processes that compute now; others have ended.
        mark: timestamp of the newest record that was used before (microseconds), `None` for none.
        now: the calendar's time, which records are stamped with by most drivers; some count from boot.

    Returns:
        The means, and the newest record seen.
        Processes without a record are not in it; `None` where no record of any of them is new.
        The first read only finds where records stand: they may be of hours ago.

    Raises:
        CallFailedError: the GPU does not answer any more, or NVML has ended.
    """
    latest = now // NANOSECONDS_PER_MICROSECOND + LEEWAY
    first = mark is None or mark > latest  # the clock was set back: records would stay older for long
    since = 0 if mark is None or first else mark
    told = answers.ask(gpu, CALL, handle, since, nothing=NOT_FOUND)
    if told is None:
        return None, mark
    fresh = [record for record in told if since < record.timeStamp <= latest]
    newest = max((record.timeStamp for record in fresh), default=since)
    percents: dict[int, list[int]] = {}
    for record in fresh:
        if record.pid in pids and record.smUtil <= 100:  # zombies have read as more
            percents.setdefault(record.pid, []).append(record.smUtil)
    if first or not percents:
        return None, newest
    return {pid: sum(values) / len(values) / 100 for pid, values in percents.items()}, newest
