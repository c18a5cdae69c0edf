"""Change log: one line per change of GPU holders, prices, GPUs, ledger state, gaps and failed ticks."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from exporter.config.settings import Config
from exporter.cost.intervals import ChargedInterval, IntervalKind
from exporter.cost.inventory import GpuInventory
from exporter.cost.policy import CostPolicy
from exporter.cost.postings import Segment
from exporter.readings import Frame, Gpu, ServerKey
from exporter.report import Report
from exporter.sources.configured import missing_gpus, returned_gpus
from exporter.tariff.rule_matching import unmatched_rules
from exporter.tariff.tariff import Tariff
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_SECOND, Nanoseconds, Picodollars, dollars

log = logging.getLogger(__name__)

SERVERS_NAMED_MAX: Final = 3
"""Servers named in one line, those with the most cost; the others are counted."""

SERVERS_LOGGED_MAX: Final = 16
"""Servers with a line of their own in one tick."""

RULES_NAMED_MAX: Final = 8
"""Rules named in one line; a file for a fleet may have hundreds."""

GPUS_LOGGED_MAX: Final = 16
"""GPUs with a line of their own in one tick."""


@dataclass(frozen=True, slots=True)
class _Condition:
    """A fault of GPUs that is logged when it begins and when it ends."""

    begins: str
    """Message of the begin."""
    ends: str
    """Message of the end."""
    see: str
    """The key of the configuration that corrects it."""


UNPRICED: Final = _Condition("gpus unpriced", "all gpus priced", "hardware")
ESTIMATED: Final = _Condition("gpus priced by estimate", "no gpu priced by estimate", "hardware")
MISSING: Final = _Condition("configured gpus not found", "configured gpus found", "servers.gpus")
RETURNED: Final = _Condition(
    "gpus marked retired are present and charged", "no retired gpu present", "retired"
)


class ChangeLog:
    """Logs each state once when it begins and once when it ends.

    After a reload, faults that remain are logged again, since an operator then reads the log.
    """

    def __init__(self, ledger_problem: str = "") -> None:
        self._last: dict[object, object] = {"ledger": ledger_problem}
        self._config: Config | None = None
        self._rules_checked: Config | None = None
        self._gpus_by_server: dict[str, tuple[int, ...]] = {}

    def _is_news(self, topic: object, value: object, *, repeat: bool = False) -> bool:
        """Whether the value of a topic has changed, or is to be repeated.

        An empty value is the initial one, and is never repeated.
        """
        before = self._last.get(topic)
        self._last[topic] = value
        return (before or None) != (value or None) or (repeat and bool(value))

    def note_tick(self, failure: Exception | None) -> None:
        """Log that a tick failed, once for each reason, and that one succeeded after failures."""
        if not self._is_news("tick", repr(failure) if failure else ""):
            return
        if failure is None:
            log.info("tick recovered")
        else:
            effect = "last report served, next tick charges this time"
            log.error("tick failed", extra={"problem": repr(failure), "effect": effect}, exc_info=failure)

    def note_ledger(self, problem: str) -> None:
        """Log the ledger's problem when it comes and when it goes; empty: none."""
        if self._is_news("ledger", problem):
            if problem:
                log.error("ledger failed", extra={"problem": problem})
            else:
                log.info("ledger recovered")

    def note_holders(self, frame: Frame) -> None:
        """Log which servers hold other GPUs than before. A tick without an answer of that changes nothing."""
        if frame.gpus is None or frame.unknown_gpus:
            return
        index = {gpu.gpu.uuid: gpu.index for gpu in frame.gpus}
        gpus_by_name: dict[str, set[int]] = {}
        for holder in frame.holders:
            if holder.uuid in index:
                gpus_by_name.setdefault(holder.key.name, set()).add(index[holder.uuid])
        before = self._gpus_by_server
        after = {server: tuple(sorted(indices)) for server, indices in gpus_by_name.items()}
        self._gpus_by_server = after
        changed = [server for server in {**before, **after} if before.get(server) != after.get(server)]
        for server in changed[:SERVERS_LOGGED_MAX]:
            if server in after:
                gpus = ",".join(map(str, after[server]))
                log.info("server gpus changed", extra={"server": server, "gpus": gpus})
            else:
                log.info("server released its gpus", extra={"server": server})
        if len(changed) > SERVERS_LOGGED_MAX:
            log.info("more server gpus changed", extra={"servers": len(changed) - SERVERS_LOGGED_MAX})

    def note_prices(self, config: Config, report: Report, frame: Frame, tariff: Tariff) -> None:
        """Log GPUs without a right price or place. A tick in which no GPU could be read changes nothing.

        Rules that match no GPU are logged once for each configuration, when the host's location is known.
        """
        if not frame.gpus:
            return
        reloaded = self._config is not None and config is not self._config
        self._config = config
        gpus = [reading.gpu for reading in frame.gpus]
        estimated = {row.gpu for row in report.prices if row.provenance.price_basis == "estimate"}
        missing = sorted(missing_gpus(config.servers, frame.gpus).items())
        returned = returned_gpus(config.retired, report.wall, gpus)
        faults = {
            UNPRICED: _by_model(row.gpu for row in report.gpus if not row.priced),
            ESTIMATED: _by_model(estimated),
            MISSING: "; ".join(f"{server}: {', '.join(map(str, absent))}" for server, absent in missing),
            RETURNED: ", ".join(gpu.uuid for gpu in returned),
        }
        for condition, text in faults.items():
            if not self._is_news(condition, text, repeat=reloaded):
                continue
            if text:
                log.warning(condition.begins, extra={"gpus": text, "see": condition.see})
            else:
                log.info(condition.ends)
        if config is self._rules_checked or tariff.location_pending:
            return
        self._rules_checked = config
        unmatched = sorted(unmatched_rules(tariff, gpus), key=lambda rule: not rule.slip)
        if unmatched:
            rules = [f"{rule.rule}: {rule.why}" for rule in unmatched[:RULES_NAMED_MAX]]
            if len(unmatched) > RULES_NAMED_MAX:
                rules.append(f"and {len(unmatched) - RULES_NAMED_MAX} more")
            # One that looks meant for a GPU here is a warning.
            level = logging.WARNING if unmatched[0].slip else logging.INFO
            log.log(
                level, "hardware rules match no gpu", extra={"rules": "; ".join(rules), "see": "hardware"}
            )

    def note_inventory(self, inventory: GpuInventory, policy: CostPolicy) -> None:
        """Log GPUs that were replaced or released, and charged GPUs that are not listed, or not counted."""
        for old, new, address in inventory.replaced[:GPUS_LOGGED_MAX]:
            names = {"old": old.uuid, "new": new.uuid, "gpu_model": new.gpu_model, "pci_bus_id": address}
            log.info("gpu replaced", extra=names)
        for uuid, gpu in tuple(inventory.released.items())[:GPUS_LOGGED_MAX]:
            log.info("gpu released", extra={"uuid": uuid, "gpu_model": gpu.gpu.gpu_model})
        for change, gpus in (("replaced", inventory.replaced), ("released", inventory.released)):
            if len(gpus) > GPUS_LOGGED_MAX:
                log.info("more gpus changed", extra={"change": change, "gpus": len(gpus) - GPUS_LOGGED_MAX})
        expected, stated, visible = inventory.expected, inventory.stated_count, inventory.visible
        if self._is_news("uncounted", inventory.uncounted):
            if inventory.uncounted:
                effect = "the host's time is charged once a GPU is read"
                log.warning("gpu count or price unknown", extra={"effect": effect, "see": "hardware"})
            else:
                log.info("gpu count and price known")
        silent = visible is None and bool(inventory.listed or inventory.lost)
        if expected is None or silent:  # a driver that fails for a while changes nothing
            return
        counts = {"expected": expected, "visible": "unknown" if visible is None else visible}
        matches = expected == (visible or 0)
        if self._is_news("count", () if matches else (expected, visible)):
            if not matches:
                log.warning("gpu count mismatch", extra={**counts, "see": "gpus_per_host"})
            else:
                log.info("gpu count matches", extra=counts)
        if visible is None:
            return
        is_partly_charged = not policy.all_gpus and stated is not None and stated > visible
        if self._is_news("partly", (stated, visible) if is_partly_charged else ()) and is_partly_charged:
            log.info(
                "only visible gpus are charged",
                extra={"stated": stated, "visible": visible, "see": "discovery.gpus"},
            )


def log_gap(interval: ChargedInterval | None, segments: tuple[Segment, ...], policy: CostPolicy) -> None:
    """Log an interval that was posted, if it was a gap or the time since boot that a new ledger charges.

    A warning if part of it exceeds `gap.max_days` and is not charged.
    """
    times = [time for segment in segments for time in segment.gpu_times]
    if interval is None or interval.kind is IntervalKind.OBSERVED:
        return
    if not (times or interval.uncharged):
        return
    # No rent accrues while a host is down whose GPUs are rented by the hour.
    down = sum(
        segment.down
        for segment in segments
        if any(
            rate.while_up
            for gpu in {time.gpu for time in segment.gpu_times}
            for rate in policy.tariff.hardware_price(gpu, segment.start).rates
        )
    )
    unpriced = sum(time.duration for time in times if time.unpriced)
    not_charged = []
    if interval.uncharged:
        not_charged.append(f"{_hours(interval.uncharged)} hours before it, beyond gap.max_days")
    if down:
        not_charged.append(f"hourly rent of {_hours(down)} hours while the host was down or suspended")
    if unpriced:
        hours = _hours(unpriced)
        not_charged.append(f"{hours} GPU-hours without a price, charged once a price is configured")
    log.log(
        logging.WARNING if interval.uncharged else logging.INFO,
        "rent since boot charged" if interval.kind is IntervalKind.SINCE_BOOT else "unobserved time charged",
        extra={
            "since": datetime.fromtimestamp(interval.start // NANOSECONDS_PER_SECOND, UTC).isoformat(),
            "hours": _hours(interval.length),
            "dollars": cents(sum(segment.accrued for segment in segments)),
            "by_server": top_servers(dollars_by_server(segments)),
            "not_charged": "; ".join(not_charged) or "nothing",
        },
    )


def dollars_by_server(segments: Iterable[Segment]) -> Counter[ServerKey]:
    """Money of segments by server."""
    money_by_server: Counter[ServerKey] = Counter()
    for segment in segments:
        for money in segment.money:
            money_by_server[money.owner_phase.owner.key] += money.amount
    return money_by_server


def top_servers(money_by_server: Mapping[ServerKey, Picodollars]) -> str:
    """Servers and their dollars, like `ml/chat 12.30, embed 4.56, 2 others 0.78`; `none` without any."""
    ranked = sorted(money_by_server.items(), key=lambda item: (-item[1], item[0]))
    named = [f"{key.name} {cents(amount)}" for key, amount in ranked[:SERVERS_NAMED_MAX]]
    others = ranked[SERVERS_NAMED_MAX:]
    if others:
        word = "other" if len(others) == 1 else "others"
        named.append(f"{len(others)} {word} {cents(sum(amount for _key, amount in others))}")
    return ", ".join(named) or "none"


def cents(amount: Picodollars) -> str:
    """Dollars with two decimals."""
    return f"{dollars(amount):.2f}"


def _hours(duration: Nanoseconds) -> str:
    return f"{duration / NANOSECONDS_PER_HOUR:.2f}"


def _by_model(gpus: Iterable[Gpu]) -> str:
    """GPUs by model, like `2 x NVIDIA H100, 1 x NVIDIA L4`."""
    counts = Counter(gpu.gpu_model for gpu in gpus)
    return ", ".join(f"{count} x {model}" for model, count in sorted(counts.items()))
