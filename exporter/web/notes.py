"""Warnings about the figures of a report: a sentence each, the most severe first."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from exporter.cost.inventory import UNCOUNTED_TEXT
from exporter.readings import ROLE_REMEDY, UNCOUNTED, Gpu, label
from exporter.report import CommittedTotals, Report, SourceRow
from exporter.tariff.price_file import age_warning
from exporter.tariff.rate import Derivation
from exporter.units import NANOSECONDS_PER_DAY, NANOSECONDS_PER_HOUR, seconds
from exporter.vendors import VENDORS
from exporter.web.wording import amount, price_line, shortened, timestamp

LIBRARIES: Final = {vendor.source: vendor.library for vendor in VENDORS}
"""What GPUs are read by, by the name of their source."""

CLOCK: Final = "clock"
SERVER: Final = "server:"
"""Names of sources; a server's name follows the last one, as `namespace/server` or `server`."""

MOST: Final = 8
"""Sources, servers or GPUs that are named one by one; the rest are counted."""


def notes(report: Report, month: str | None, projected: Mapping[str, float], *, stale: bool) -> Iterator[str]:
    """The notes of a report. A stale one has none of sources that are down, nor of the projected month.

    Args:
        report: the report.
        month: the current month, of which `projected` is.
        projected: the month's end by product, and of all together under "".
        stale: whether the report is too old for current states.
    """
    totals = report.totals
    if stale:
        yield "No tick for more than three intervals: current spend is unknown."
    if totals is not None:
        yield from _ledger_notes(totals)
    else:
        clock = any(source.source == CLOCK and not source.up for source in report.sources)
        # An index below zero: the driver never listed the GPU, so that it identifies no host.
        listed = any(row.index >= 0 for row in report.gpus)
        waits = ["the clock is set (it is waited for two minutes at most)"] if clock else []
        if not listed or not clock:
            waits.append(
                "the ledger's host is verified (it may be another machine's, and no GPU can be read to "
                "identify it)"
            )
        yield f"No totals are shown until {', or until '.join(waits)}."
    if not stale:
        for budget in report.budgets:
            end = projected.get(budget.product)
            if end is not None and end > budget.dollars:
                what = f" for product {budget.product}" if budget.product else ""
                default = "" if budget.configured else "default "
                yield (
                    f'Over the {default}budget "{budget.name}" ({amount(budget.dollars)} a month): '
                    f"this host alone is projected to spend {amount(end)}{what} in {month}."
                )
        yield from _down(report, [row for row in report.sources if row.source in LIBRARIES])
    unpriced = [row for row in report.gpus if not row.priced and row.gpu != UNCOUNTED]
    if unpriced:
        yield (
            f"Unpriced GPUs: {sum(row.count for row in unpriced)} of "
            f"{sum(row.count for row in report.gpus)}. "
            f"These figures do not include their cost. {_price_hint(row.gpu for row in unpriced)}"
        )
    if not stale:
        yield from _read_notes(report)
    yield from _gpu_notes(report, stale=stale)
    if totals is not None and totals.uncharged:
        lost, days = seconds(totals.uncharged), totals.uncharged / NANOSECONDS_PER_DAY
        yield (
            f"Downtime beyond gap.max_days is not charged: {lost:,.0f} s ({days:,.1f} days) since the "
            "ledger was created. These figures do not include its cost."
        )
    if not report.config.last_reload_success:
        yield "The last configuration reload failed. The previous configuration is in force."
    if report.config.web_last_reload_success is False:
        yield "The last web configuration reload failed. The previous configuration is in force."


def _ledger_notes(totals: CommittedTotals) -> Iterator[str]:
    if totals.residual:
        yield "Accrued and posted dollars differ. This is a bug: report it with the log."
    if totals.moved_aside:
        yield (
            "A new ledger was created at this start. The previous ledger was moved to "
            f"{totals.moved_aside}; these figures do not include it."
        )
    if not totals.persistent:
        yield "The ledger is in memory: a restart loses the month."
        if totals.unread:
            yield (
                "The ledger's file cannot be read: once it can, the time since then may be counted twice, by "
                "this ledger and by that file."
            )
    elif not totals.writable:
        yield "The ledger cannot be written. Totals are frozen, and a restart loses everything since."
    elif totals.displaced:
        yield (
            f"The ledger file was replaced while the daemon ran. Totals continue in {totals.displaced}; a "
            "restart uses the other file."
        )
    elif totals.fleeting:
        yield "The ledger is on an emptyDir. The next pod starts at 0."


def _limited(sentences: Sequence[str], further: str) -> Iterator[str]:
    yield from sentences[:MOST]
    if len(sentences) > MOST:
        yield f"{further}: {len(sentences) - MOST}."


def _read_notes(report: Report) -> Iterator[str]:
    """What could not be read, or not be divided, in the last tick."""
    libraries = [LIBRARIES[row.source] for row in report.sources if row.source in LIBRARIES and row.up]
    if libraries and not report.gpus:
        yield f"{' and '.join(libraries)} lists no GPU: nothing is charged."
    others = [row for row in report.sources if row.source not in LIBRARIES]
    others.sort(key=lambda row: (row.source.startswith(SERVER), row.source))  # there may be many servers
    yield from _limited(list(_down(report, others)), "Further sources that cannot be read")
    unread = sorted({(server.key, server.reason) for server in report.unread if not server.url})
    yield from _limited(
        [f"Server {key.name} is not read: {reason.problem}. {reason.remedy}." for key, reason in unread],
        "Further servers that are not read",
    )
    doubts = {row.key.name: row.role_doubt for row in report.servers if row.role_doubt}
    yield from _limited(
        [
            f"Server {name} has no role: {label(doubt)}. {ROLE_REMEDY}"
            for name, doubt in sorted(doubts.items())
        ],
        "Further servers without a role",
    )
    if any(row.source == "processes" and row.errors.get("refused") for row in report.sources):
        yield (
            "Some processes claim ports or server names of other users. The claims were refused; "
            "`doctor` lists them."
        )
    unpriced = 0 if report.totals is None else sum(row.unpriced for row in report.totals.window.values())
    if unpriced:
        yield (
            f"Unpriced GPU time of the last hour: {unpriced / NANOSECONDS_PER_HOUR:.2f} GPU-hours. Its "
            "servers have no cost per million tokens until it is charged."
        )


def _down(report: Report, sources: Iterable[SourceRow]) -> Iterator[str]:
    """The sources that are down, each with its reason and, of a server, what to do."""
    for source in sources:
        if source.up:
            continue
        remedy = ""
        if source.source in LIBRARIES:
            failure = f"{LIBRARIES[source.source]} cannot be read"
        elif source.source == CLOCK:
            failure = "The clock is not synchronized"
        elif not source.source.startswith(SERVER):
            failure = f"Source {source.source} cannot be read"
        else:
            name = source.source.removeprefix(SERVER)
            ups = [row.up for row in report.servers if row.key.name == name]
            reasons = {server.reason for server in report.unread if server.url and server.key.name == name}
            remedy = "".join(f" {reason.remedy}." for reason in sorted(reasons))
            failure = f"Server {name} cannot be read"
            if any(ups) and not all(ups):
                failure += f" at {ups.count(False)} of {len(ups)} endpoints"
        last = source.last_success
        since = "never since the start" if last is None else f"last at {timestamp(last)}"
        why = shortened(source.problem).removesuffix(".")
        yield f"{failure} ({since}){f': {why}' if why else ''}.{remedy}"


def _price_hint(gpus: Iterable[Gpu]) -> str:
    """How to price these GPUs in the configuration."""
    return f"Add your price: {price_line(sorted({gpu.gpu_model for gpu in gpus}))}"


def _gpu_notes(report: Report, *, stale: bool) -> Iterator[str]:
    all_gpus = sum(row.count for row in report.gpus)
    estimated = {row.gpu: row.count for row in report.prices if row.provenance.price_basis == "estimate"}
    if estimated:
        scaled = {
            row.gpu: row.count for row in report.prices if row.provenance.derivation is Derivation.SCALED
        }
        regions = f" Scaled from the list price of another region: {sum(scaled.values())}." if scaled else ""
        yield (
            f"GPUs priced by an estimate: {sum(estimated.values())} of {all_gpus}.{regions} "
            f"{_price_hint(estimated)}"
        )
    by_list = any(price.provenance.price_basis != "configured" for price in report.prices)
    old = age_warning(report.price_list_date, report.wall)
    if by_list and old:
        yield old
    tariff = None if report.basis is None else report.basis.policy.tariff
    present = [row.gpu for row in report.gpus if row.reading]
    returned = 0 if tariff is None else sum(tariff.is_retired(gpu, report.wall) for gpu in present)
    if returned:
        yield f"GPUs marked `retired` that are present and charged: {returned} of {all_gpus}."
    if stale:
        return
    down = sum(not row.up for row in report.gpus if row.index >= 0)
    if down:
        yield f"GPUs that are paid for and cannot be read: {down} of {all_gpus}."
    unseen = sum(row.count for row in report.gpus if row.index < 0)
    if any(row.gpu == UNCOUNTED for row in report.gpus):
        yield UNCOUNTED_TEXT
    elif unseen:
        yield f"Charged GPUs that NVML never listed (unseen): {unseen} of {all_gpus}."
    expected, visible = report.expected_gpus, report.visible_gpus
    if expected is not None and visible is not None and expected < visible:
        yield f"NVML lists {visible} GPUs, and {expected} are paid for: correct gpus_per_host."
    recent = [
        f"{label(row.gpu.uuid)} for {label(row.predecessor)} ({timestamp(row.replaced_at)})"
        for row in report.gpus
        if row.predecessor and 0 <= report.wall - row.replaced_at < NANOSECONDS_PER_DAY
    ]
    if recent:
        further = f"; and {len(recent) - MOST} more" if len(recent) > MOST else ""
        yield f"GPUs that took the slot of another: {'; '.join(recent[:MOST])}{further}."
