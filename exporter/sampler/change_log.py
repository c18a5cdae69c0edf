"""Change log: one line per change of holders, prices, GPUs, gaps and failed ticks."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from exporter.config.settings import Config
from exporter.cost.intervals import ChargedInterval
from exporter.cost.inventory import GpuInventory
from exporter.cost.policy import CostPolicy
from exporter.cost.postings import Segment
from exporter.readings import Frame, Gpu, MustRestartError, ServerKey
from exporter.report import Report
from exporter.sources.configured import missing_gpus, returned_gpus
from exporter.tariff.rule_matching import unmatched_rules
from exporter.tariff.tariff import Tariff
from exporter.units import (
    NANOSECONDS_PER_HOUR,
    NANOSECONDS_PER_MINUTE,
    NANOSECONDS_PER_SECOND,
    Nanoseconds,
    Picodollars,
    dollars,
)

NAMED: Final = 3
"""So many are named, those that paid most; the others are counted."""


def dollars_by_server(segments: Iterable[Segment]) -> Counter[ServerKey]:
    """Money by who paid it."""
    found: Counter[ServerKey] = Counter()
    for segment in segments:
        for money in segment.money:
            found[money.owner_phase.owner.key] += money.amount
    return found


def top_payers(paid: Mapping[ServerKey, Picodollars]) -> str:
    """Servers and their dollars, like `ml/chat 12.30, embed 4.56, 2 others 0.78`; `nobody` without any."""
    ranked = sorted(paid.items(), key=lambda item: (-item[1], item[0]))
    told = [f"{_name(key)} {cents(amount)}" for key, amount in ranked[:NAMED]]
    if others := ranked[NAMED:]:
        word = "other" if len(others) == 1 else "others"
        told.append(f"{len(others)} {word} {cents(sum(amount for _key, amount in others))}")
    return ", ".join(told) or "nobody"


def cents(amount: Picodollars) -> str:
    """Dollars as the log tells them."""
    return f"{dollars(amount):.2f}"


def _name(key: ServerKey) -> str:
    return f"{key.namespace}/{key.server}" if key.namespace else key.server


log = logging.getLogger(__name__)

MOST_TOLD: Final = 16
"""Servers that are told one by one in one tick."""

Held = dict[str, tuple[int, ...]]
"""Servers, and the GPUs that each holds a part of, by index."""


class HolderChanges:
    """Remembers who held what. A tick in which nobody can tell changes nothing."""

    def __init__(self) -> None:
        self._held: Held = {}

    def note(self, frame: Frame) -> None:
        """Take in one tick."""
        if frame.gpus is None or frame.unknown_gpus:
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


LONGEST: Final[Nanoseconds] = 10 * NANOSECONDS_PER_MINUTE
"""After so long without a tick only a new process may find what this one lacks."""


class TickFailures:
    """Remembers since when no tick could be taken, and why."""

    def __init__(self) -> None:
        self._since: Nanoseconds | None = None
        self._told = ""

    def note(self, failure: Exception, now: Nanoseconds) -> None:
        """A tick failed.

        Raises:
            MustRestartError: so did all of the last ten minutes.
        """
        if self._since is None:
            self._since = now
        problem = "out of memory" if isinstance(failure, MemoryError) else repr(failure)
        if now - self._since >= LONGEST:
            raise MustRestartError(f"no tick could be taken for ten minutes: {problem}")
        if problem != self._told:
            # Where in the program memory ran out is no news.
            trace = None if isinstance(failure, MemoryError) else failure
            log.error(
                "no tick can be taken: the report stands, the next tick charges the time",
                extra={"problem": problem},
                exc_info=trace,
            )
        self._told = problem

    def end(self) -> None:
        """A tick was taken."""
        if self._since is not None:
            log.info("ticks are taken again")
        self._since, self._told = None, ""


def log_gap(interval: ChargedInterval | None, segments: tuple[Segment, ...], terms: CostPolicy) -> None:
    """Tell of an interval that was posted, where it was a gap or the time since boot that new books charge.

    A warning where a part of it was too long to be believed and was charged to nobody.
    """
    held = any(segment.held for segment in segments)
    if interval is None or interval.observed or not (held or interval.uncharged):
        return
    not_charged = "; ".join(_not_charged(interval, segments, terms))
    what = "hourly rent since the boot" if interval.hourly_only else "time that nobody watched"
    log.log(
        logging.WARNING if interval.uncharged else logging.INFO,
        "%s was charged",
        what,
        extra={
            "since": datetime.fromtimestamp(interval.start // NANOSECONDS_PER_SECOND, UTC).isoformat(),
            "hours": _hours(interval.length),
            "dollars": cents(sum(segment.accrued for segment in segments)),
            "payers": top_payers(dollars_by_server(segments)),
            "not_charged": not_charged or "nothing",
        },
    )


def _not_charged(
    interval: ChargedInterval, segments: tuple[Segment, ...], terms: CostPolicy
) -> Iterator[str]:
    if interval.uncharged:
        yield f"{_hours(interval.uncharged)} hours before it, beyond gap.max_days"
    down = sum(segment.down for segment in segments if _hourly(segment, terms))
    if down:
        yield f"hourly rent of {_hours(down)} hours in which the host was down or asleep"
    waits = sum(held.duration for segment in segments for held in segment.held if not held.priced)
    if waits:
        yield f"{_hours(waits)} GPU-hours without a price, which wait for one"


def _hourly(segment: Segment, terms: CostPolicy) -> bool:
    """Whether anything of it is rented by the hour, so that nothing is owed while the host is down."""
    return any(
        rate.while_up
        for gpu in {held.gpu for held in segment.held}
        for rate in terms.tariff.hardware_price(gpu, segment.start).rates
    )


def _hours(duration: Nanoseconds) -> str:
    return f"{duration / NANOSECONDS_PER_HOUR:.2f}"


Counted = tuple[tuple[str, int], ...]
"""Models of GPUs, and how many of each."""

Unknown = tuple[tuple[str, tuple[int | str, ...]], ...]
"""Servers, and the GPUs that each is said to hold and this host does not show."""

NOTHING: Final = ()

MOST_RULES: Final = 8
"""Rules that the line names; a file for a fleet may have hundreds."""

MOST_GPUS: Final = 16
"""GPUs that are named one by one in one tick."""


class PriceChanges:
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
        missing = missing_gpus(config.servers, frame.gpus)
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

    def note_slots(self, inventory: GpuInventory, terms: CostPolicy) -> None:
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
    found = sorted(unmatched_rules(tariff, gpus), key=lambda rule: not rule.slip)
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
