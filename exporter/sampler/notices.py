"""What makes money absent or unallocated, told in the log: a line per change of state, none per tick."""

import logging
from collections import Counter
from collections.abc import Iterable
from typing import Final

from exporter.config.settings import Config
from exporter.readings import Frame, Gpu
from exporter.report import Report
from exporter.sources.configured import returned_gpus, unknown_gpus
from exporter.tariff.missed import missed
from exporter.tariff.tariff import Tariff

log = logging.getLogger(__name__)

Counted = tuple[tuple[str, int], ...]
"""Models of GPUs, and how many of each."""

Unknown = tuple[tuple[str, tuple[int | str, ...]], ...]
"""Servers, and the GPUs that each is said to hold and this host does not show."""

NOTHING: Final = ()

MOST_RULES: Final = 8
"""Rules that the line names; a file for a fleet may have hundreds."""


class Notices:
    """Remembers what was told. Under another configuration what is still wrong is told again."""

    def __init__(self) -> None:
        self._config: Config | None = None
        self._looked: Config | None = None
        self._unpriced: Counted = NOTHING
        self._estimated: Counted = NOTHING
        self._unknown: Unknown = NOTHING
        self._returned: tuple[str, ...] = NOTHING

    def note(self, config: Config, report: Report, frame: Frame, tariff: Tariff) -> None:
        """Take in one tick. One in which the GPUs could not be read changes nothing.

        Rules that match no GPU are told once for each configuration, when it is known where the host runs.
        """
        if not frame.gpus:
            return
        reloaded = self._config is not None and config is not self._config
        self._config = config
        unpriced = _counted(row.gpu for row in report.gpus if not row.priced)
        if unpriced != self._unpriced or (reloaded and unpriced):
            _tell_unpriced(unpriced)
        self._unpriced = unpriced
        estimated = _counted({row.gpu for row in report.prices if row.provenance.price_basis == "estimate"})
        if estimated != self._estimated or (reloaded and estimated):
            _tell_estimated(estimated)
        self._estimated = estimated
        missing = unknown_gpus(config.servers, frame.gpus)
        unknown = tuple((server, tuple(absent)) for server, absent in sorted(missing.items()))
        if unknown != self._unknown or (reloaded and unknown):
            _tell_unknown(unknown)
        self._unknown = unknown
        if config is not self._looked and not tariff.asking:
            self._looked = config
            _tell_missed(tariff, (reading.gpu for reading in frame.gpus))
        returned = tuple(
            gone.uuid
            for gone in returned_gpus(config.retired, report.wall, (reading.gpu for reading in frame.gpus))
        )
        if returned != self._returned or (reloaded and returned):
            _tell_returned(returned)
        self._returned = returned


def _counted(gpus: Iterable[Gpu]) -> Counted:
    return tuple(sorted(Counter(gpu.gpu_model for gpu in gpus).items()))


def _tell_estimated(estimated: Counted) -> None:
    if estimated:
        told = ", ".join(f"{count} x {model}" for model, count in estimated)
        log.warning("GPUs are priced by an estimate", extra={"gpus": told, "see": "hardware"})
    else:
        log.info("no GPU is priced by an estimate")


def _tell_unpriced(unpriced: Counted) -> None:
    if unpriced:
        told = ", ".join(f"{count} x {model}" for model, count in unpriced)
        log.warning("GPUs have no price: their cost is absent", extra={"gpus": told, "see": "hardware"})
    else:
        log.info("every GPU has a price")


def _tell_missed(tariff: Tariff, gpus: Iterable[Gpu]) -> None:
    """One line: a warning where a rule was meant for what is here, else for whoever asks."""
    found = sorted(missed(tariff, gpus), key=lambda rule: not rule.slip)
    if found:
        told = "; ".join(f"{rule.rule}: {rule.why}" for rule in found[:MOST_RULES])
        rest = len(found) - MOST_RULES
        log.log(
            logging.WARNING if found[0].slip else logging.INFO,
            "hardware rules match no GPU here",
            extra={"rules": f"{told}; and {rest} more" if rest > 0 else told, "see": "hardware"},
        )


def _tell_unknown(unknown: Unknown) -> None:
    if unknown:
        told = "; ".join(f"{server}: {', '.join(map(str, absent))}" for server, absent in unknown)
        log.warning(
            "servers name GPUs that this host does not show", extra={"gpus": told, "see": "servers.gpus"}
        )
    else:
        log.info("every GPU that a server names is on this host")


def _tell_returned(returned: tuple[str, ...]) -> None:
    if returned:
        told = ", ".join(returned)
        log.warning(
            "GPUs that are said to have left are here, and charged", extra={"gpus": told, "see": "retired"}
        )
    else:
        log.info("no GPU that is said to have left is here")
