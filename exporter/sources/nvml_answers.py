"""Questions to NVML about one GPU, and what is remembered of the answers that it cannot give."""

import logging
from typing import Any, Final

from exporter.readings import Gpu
from exporter.sources.nvml_inventory import LOST
from exporter.sources.nvml_library import (
    ARGUMENT_VERSION_MISMATCH,
    ENDED,
    FUNCTION_NOT_FOUND,
    NO_PERMISSION,
    NOT_SUPPORTED,
    SUCCESS,
    CallFailedError,
    Library,
    reason,
)

UNTOLD: Final = frozenset({NOT_SUPPORTED, NO_PERMISSION, FUNCTION_NOT_FOUND, ARGUMENT_VERSION_MISMATCH})
"""Codes that will not change before NVML is opened again; the call is not made again until then."""

LARGEST_INTEGER: Final = 2**63 - 1
"""Sentinels and wrecked counters lie above; what is counted for years does not."""

log = logging.getLogger(__name__)


class Answers:
    """Asks about GPUs, and remembers what each of them cannot tell."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._untold: dict[tuple[str, str], int] = {}
        self.errors: list[str] = []
        """Reasons of the calls that failed for now, since it was last emptied."""

    def expire(self) -> None:
        """NVML was opened again: another driver may tell what this one did not."""
        self._untold.clear()

    def untold(self, gpu: Gpu, field: str) -> bool:
        """Whether a GPU is known not to tell this."""
        return (gpu.uuid, field) in self._untold

    def lacks(self, gpu: Gpu, function: str) -> bool:
        """Whether the driver is known not to have a function, so that an older one may tell."""
        return self._untold.get((gpu.uuid, function)) == FUNCTION_NOT_FOUND

    def ask(
        self, gpu: Gpu, function: str, *arguments: object, field: str = "", nothing: int | None = None
    ) -> Any:
        """One call's answer, `None` where there is none.

        Args:
            gpu: whom it is about.
            function: of pynvml.
            arguments: of the function.
            field: what is asked, where that is less than all that the function tells.
            nothing: a code that is an answer too: there is nothing to tell, `()`.
                Success is another: where the length of a list is 0, `pynvml` raises that.

        Raises:
            CallFailedError: the GPU does not answer any more, or NVML has ended.
        """
        if self.untold(gpu, field or function):
            return None
        try:
            return self._library.call(function, *arguments)
        except CallFailedError as error:
            if error.code in ENDED or error.code in LOST:
                raise
            if nothing is not None and error.code in {nothing, SUCCESS}:
                return ()
            self.note(gpu, error, field or function)
            return None

    def note(self, gpu: Gpu, error: CallFailedError, field: str) -> None:
        """Remember a failure that costs one field: for good where it will not change, else it is counted."""
        if error.code not in UNTOLD:
            self.errors.append(reason(error.code))
        elif not self.untold(gpu, field):
            self._untold[gpu.uuid, field] = error.code
            if error.code == NO_PERMISSION:
                log.warning("GPU %s: %s; not asked again", gpu.uuid, error)
