"""Who came to hold GPUs and who let go of them, told in the log once per change."""

import logging
from typing import Final

from exporter.readings import Frame

log = logging.getLogger(__name__)

MOST_TOLD: Final = 16
"""Servers that are told one by one in one tick."""

Held = dict[str, tuple[int, ...]]
"""Servers, and the GPUs that each holds a part of, by index."""


class Arrivals:
    """Remembers who held what. A tick in which nobody can tell changes nothing."""

    def __init__(self) -> None:
        self._held: Held = {}

    def note(self, frame: Frame) -> None:
        """Take in one tick."""
        if frame.gpus is None or frame.unsure:
            return
        before, self._held = self._held, _held(frame)
        changed = [name for name in {**before, **self._held} if before.get(name) != self._held.get(name)]
        for name in changed[:MOST_TOLD]:
            held = self._held.get(name)
            if held is None:
                log.info("server holds no GPU any more", extra={"server": name})
            else:
                log.info("server holds GPUs", extra={"server": name, "gpus": ",".join(map(str, held))})
        if len(changed) > MOST_TOLD:
            log.info("more servers changed what they hold", extra={"servers": len(changed) - MOST_TOLD})


def _held(frame: Frame) -> Held:
    index = {gpu.gpu.uuid: gpu.index for gpu in frame.gpus or ()}
    found: dict[str, set[int]] = {}
    for holder in frame.holders:
        key = holder.key
        name = f"{key.namespace}/{key.server}" if key.namespace else key.server
        if holder.uuid in index:
            found.setdefault(name, set()).add(index[holder.uuid])
    return {name: tuple(sorted(gpus)) for name, gpus in found.items()}
