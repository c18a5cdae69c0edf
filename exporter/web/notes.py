"""Warnings about the figures of a report: a sentence each, the most severe first."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Final

from exporter.cost.inventory import UNCOUNTED_TEXT
from exporter.readings import ROLE_REMEDY, UNCOUNTED, Gpu, label
from exporter.report import CommittedTotals, Report, SourceRow
from exporter.tariff.price_file import age_warning
from exporter.tariff.rate import Derivation
from exporter.units import NANOSECONDS_PER_DAY, NANOSECONDS_PER_HOUR, seconds
from exporter.web.wording import amount, price_line, shortened, timestamp

NVML: Final = "nvml"
CLOCK: Final = "clock"
SERVER: Final = "server:"
"""Names of sources; a server's name follows the last one, as `namespace/server` or `server`."""

MOST_SOURCES: Final = 8
"""Sources down that are named; the rest are counted."""

MOST_GPUS: Final = 8
"""The same of GPUs that took the slot of another, which are listed for a day."""


def notes(report: Report, month: str | None, projected: Mapping[str, float], *, stale: bool) -> Iterator[str]:
    """The notes of a report. A stale one has none of sources that are down, nor of the projected month.

    Args:
        report: the report.
        month: the current month, of which `projected` is.
        projected: the month's end by product, and of all together under "".
        stale: whether the report is too old for current states.
    """
    if stale:
        yield "No tick for more than three intervals: current spend is unknown."
    yield from _withheld(report) if report.totals is None else _ledger_notes(report.totals)
    if not stale:
        yield from chain(_over_budget(report, month, projected), _down(report, nvml=True))
    yield from _without_price(report)
    if not stale and not report.gpus and any(row.source == NVML and row.up for row in report.sources):
        yield "NVML lists no GPU: nothing is charged."
    if not stale:
        yield from chain(_down(report, nvml=False), _unread(report), _without_role(report))
        yield from chain(_refused(report), _unpriced(report))
    yield from _gpus(report, stale=stale)
    if report.totals is not None and report.totals.uncharged:
        lost, days = seconds(report.totals.uncharged), report.totals.uncharged / NANOSECONDS_PER_DAY
        yield (
            f"Downtime beyond gap.max_days is not charged: {lost:,.0f} s ({days:,.1f} days) since the "
            "ledger was created. These figures do not include its cost."
        )
    if not report.config.last_reload_success:
        yield "The last configuration reload failed. The previous configuration is in force."
    if report.config.web_last_reload_success is False:
        yield "The last web configuration reload failed. The previous configuration is in force."


def _unpriced(report: Report) -> Iterator[str]:
    """GPU time that is the reason for missing prices per token."""
    unpriced_times = [] if report.totals is None else [row.unpriced for row in report.totals.window.values()]
    if any(unpriced_times):
        yield (
            f"Unpriced GPU time of the last hour: {sum(unpriced_times) / NANOSECONDS_PER_HOUR:.2f} "
            "GPU-hours. Its servers have no cost per million tokens until it is charged."
        )


def _withheld(report: Report) -> Iterator[str]:
    """What totals wait for: the clock, the ledger's host, or both."""
    clock = any(source.source == CLOCK and not source.up for source in report.sources)
    # An index below zero: the driver never listed the GPU, so that it identifies no host.
    listed = any(row.index >= 0 for row in report.gpus)
    dated = "the clock is set (it is waited for two minutes at most)"
    whose = (
        "the ledger's host is verified (it may be another machine's, and no GPU can be read to identify it)"
    )
    waits = [cause for cause, holds in ((dated, clock), (whose, not listed or not clock)) if holds]
    yield f"No totals are shown until {', or until '.join(waits)}."


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


def _over_budget(report: Report, month: str | None, projected: Mapping[str, float]) -> Iterator[str]:
    for budget in report.budgets:
        end = projected.get(budget.product)
        if end is not None and end > budget.dollars:
            what = f" for product {budget.product}" if budget.product else ""
            default = "" if budget.configured else "default "
            yield (
                f'Over the {default}budget "{budget.name}" ({amount(budget.dollars)} a month): '
                f"this host alone is projected to spend {amount(end)}{what} in {month}."
            )


def _down(report: Report, *, nvml: bool) -> Iterator[str]:
    """Sources that are down: NVML, without which nothing is charged, or the others."""
    down = sorted((source for source in report.sources if not source.up), key=_rank)
    for source in down[:MOST_SOURCES]:
        if (source.source == NVML) is not nvml:
            continue
        last = source.last_success
        since = "never since the start" if last is None else f"last at {timestamp(last)}"
        why = shortened(source.problem).removesuffix(".")
        yield f"{_failure(source, report)} ({since}){f': {why}' if why else ''}.{_remedy(source, report)}"
    if not nvml and (further := down[MOST_SOURCES:]):
        yield f"Further sources that cannot be read: {len(further)}."


def _remedy(source: SourceRow, report: Report) -> str:
    """What to do about a server that is down, each sentence after a space."""
    name = source.source.removeprefix(SERVER)
    reasons = {one.reason for one in report.unread if one.url and one.key.name == name}
    if not source.source.startswith(SERVER):
        return ""
    return "".join(f" {reason.remedy}." for reason in sorted(reasons))


def _unread(report: Report) -> Iterator[str]:
    """Discovered servers without an endpoint."""
    unread = sorted({(one.key, one.reason) for one in report.unread if not one.url})
    for key, reason in unread[:MOST_SOURCES]:
        yield f"Server {key.name} is not read: {reason.problem}. {reason.remedy}."
    if further := unread[MOST_SOURCES:]:
        yield f"Further servers that are not read: {len(further)}."


def _without_role(report: Report) -> Iterator[str]:
    """Servers that may be one of a disaggregated pair."""
    doubts = {row.key.name: row.role_doubt for row in report.servers if row.role_doubt}
    for name, doubt in sorted(doubts.items())[:MOST_SOURCES]:
        yield f"Server {name} has no role: {label(doubt)}. {ROLE_REMEDY}"
    if (further := len(doubts) - MOST_SOURCES) > 0:
        yield f"Further servers without a role: {further}."


def _refused(report: Report) -> Iterator[str]:
    """Claims of a port, a name or an entry of `servers` that discovery refused."""
    errors = next((source.errors for source in report.sources if source.source == "processes"), {})
    if errors.get("refused"):
        yield (
            "Some processes claim ports or server names of other users. The claims were refused; "
            "`doctor` lists them."
        )


def _rank(source: SourceRow) -> tuple[bool, bool, str]:
    """NVML first, without which nothing is charged; servers last: there may be many."""
    return source.source.startswith(SERVER), source.source != NVML, source.source


def _failure(source: SourceRow, report: Report) -> str:
    if source.source == NVML:
        return "NVML cannot be read"
    if source.source == CLOCK:
        return "The clock is not synchronized"
    if not source.source.startswith(SERVER):
        return f"Source {source.source} cannot be read"
    name = source.source.removeprefix(SERVER)
    ups = [row.up for row in report.servers if row.key.name == name]
    if any(ups) and not all(ups):
        return f"Server {name} cannot be read at {ups.count(False)} of {len(ups)} endpoints"
    return f"Server {name} cannot be read"


def _scaled(report: Report) -> str:
    """GPUs with the scaled list price of another region, after a space."""
    scaled = {
        price.gpu: price.count for price in report.prices if price.provenance.derivation is Derivation.SCALED
    }
    return f" Scaled from the list price of another region: {sum(scaled.values())}." if scaled else ""


def _without_price(report: Report) -> Iterator[str]:
    unpriced = [row for row in report.gpus if not row.priced and row.gpu != UNCOUNTED]
    if unpriced:
        yield (
            f"Unpriced GPUs: {sum(row.count for row in unpriced)} of "
            f"{sum(row.count for row in report.gpus)}. These figures do not include their cost. "
            f"{_price_hint(row.gpu for row in unpriced)}"
        )


def _price_hint(gpus: Iterable[Gpu]) -> str:
    """How to price these GPUs in the configuration."""
    return f"Add your price: {price_line(sorted({gpu.gpu_model for gpu in gpus}))}"


def _gpus(report: Report, *, stale: bool) -> Iterator[str]:
    all_gpus = sum(row.count for row in report.gpus)
    estimated = {
        price.gpu: price.count for price in report.prices if price.provenance.price_basis == "estimate"
    }
    if estimated:
        yield (
            f"GPUs priced by an estimate: {sum(estimated.values())} of {all_gpus}.{_scaled(report)} "
            f"{_price_hint(estimated)}"
        )
    by_list = any(price.provenance.price_basis != "configured" for price in report.prices)
    if by_list and (old := age_warning(report.price_list_date, report.wall)):
        yield old
    tariff = None if report.basis is None else report.basis.policy.tariff
    if tariff is not None and (
        returned := sum(tariff.has_left(row.gpu, report.wall) for row in report.gpus if row.reading)
    ):
        yield f"GPUs marked `retired` that are present and charged: {returned} of {all_gpus}."
    if stale:
        return
    if down := sum(not row.up for row in report.gpus if row.index >= 0):
        yield f"GPUs that are paid for and cannot be read: {down} of {all_gpus}."
    if any(row.gpu == UNCOUNTED for row in report.gpus):
        yield UNCOUNTED_TEXT
    elif unseen := sum(row.count for row in report.gpus if row.index < 0):
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
        further = f"; and {len(recent) - MOST_GPUS} more" if len(recent) > MOST_GPUS else ""
        yield f"GPUs that took the slot of another: {'; '.join(recent[:MOST_GPUS])}{further}."
