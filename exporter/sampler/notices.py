"""What makes money absent or unallocated, told in the log: a line per change of state, none per tick."""

import logging
from collections import Counter
from collections.abc import Iterable
from typing import Final

from exporter.config.settings import Config
from exporter.cost.inventory import Inventory
from exporter.cost.policy import Terms
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

MOST_GPUS: Final = 16
"""GPUs that are named one by one in one tick."""


class Notices:
    """Remembers what was told. Under another configuration what is still wrong is told again."""

    def __init__(self) -> None:
        self._config: Config | None = None
        self._looked: Config | None = None
        self._unpriced: Counted = NOTHING
        self._estimated: Counted = NOTHING
        self._unknown: Unknown = NOTHING
        self._returned: tuple[str, ...] = NOTHING
        self._counts: tuple[int, int] | None = None
        self._partly: tuple[int, int] | None = None

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

    def note_slots(self, inventory: Inventory, terms: Terms) -> None:
        """Take in the slots of a tick that was posted. One in which the driver is silent changes nothing."""
        for old, new, address in inventory.replaced[:MOST_GPUS]:
            known = {"old": old.uuid, "new": new.uuid, "gpu_model": new.gpu_model, "pci_bus_id": address}
            log.info("gpu replaced", extra=known)
        for uuid, gpu in tuple(inventory.released.items())[:MOST_GPUS]:
            log.info("gpu released", extra={"uuid": uuid, "gpu_model": gpu.gpu.gpu_model})
        for what, gpus in (("replaced", inventory.replaced), ("released", inventory.released)):
            if len(gpus) > MOST_GPUS:
                log.info("more gpus %s", what, extra={"gpus": len(gpus) - MOST_GPUS})
        if inventory.expected is None or inventory.visible is None:
            return
        self._note_counts(inventory.expected, inventory.visible)
        stated, visible = inventory.stated, inventory.visible
        partly = None if terms.all_gpus or stated is None or stated <= visible else (stated, visible)
        if partly is not None and partly != self._partly:
            log.info(
                "only visible gpus are charged",
                extra={"stated": stated, "visible": visible, "see": "discovery.gpus"},
            )
        self._partly = partly

    def _note_counts(self, expected: int, visible: int) -> None:
        before, self._counts = self._counts, (expected, visible)
        if before == self._counts or (before is None and expected == visible):
            return
        counts = {"expected": expected, "visible": visible, "see": "gpus_per_host"}
        if expected != visible:
            log.warning("gpu count mismatch", extra=counts)
        elif before is not None and before[0] != before[1]:
            log.info("gpu count matches", extra=counts)


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
