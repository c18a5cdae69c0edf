"""Notices of a reload about posted money, and the commands that correct it. Pure."""

import shlex
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from exporter.readings import Gpu, printable
from exporter.reports.dated_prices import accruals_of, dated
from exporter.reports.repricing import Correction, PostedHistory, Repricing, reason, repricing
from exporter.reports.rounding import dollars_text, hundredths
from exporter.tariff.calendar import day_of
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Listed
from exporter.units import NANOSECONDS_PER_SECOND, Instant

UNDATED: Final = (
    "A price without `from`, or an amount in addition to the hardware, changed: it counts from now on, and "
    "posted cost stays."
)

UNCOMPARABLE: Final = (
    "Corrections of changed prices that were entered before come to {made} dollars and reach into time "
    "without a dated price, or without a price: the rest of the correction is unknown, and no line is "
    "given. Set the month right by `report month` and `adjust`, or give the prices the dates from which "
    "they held."
)

NOTHING: Final = (
    "What is posted agrees with the prices by date, as far as hours that were metered in part tell: there is "
    "nothing to correct."
)

CAVEAT: Final = (
    (
        "An estimate, up to the last tick: each GPU's difference goes to the products and teams that held it "
        "in each hour. Energy, overheads and other adjustments are not in it."
    ),
    "A line is known by its key and is entered once; its reason is free text.",
)

BY_PLACE: Final = (
    "Prices are matched by where this host runs now (instance type, lifecycle, region, node labels): if it "
    "ran elsewhere before, leave out the lines of that time."
)


def sentences(
    old: Tariff,
    new: Tariff,
    history: PostedHistory | None,
    gpus: Iterable[Gpu],
    zone: ZoneInfo,
    now: Instant,
    flags: Sequence[str] = (),
) -> tuple[str, ...]:
    """Lines for people; none where the reload changes no price of what is posted.

    Args:
        old: the prices until now.
        new: those from now on.
        history: what is posted, by time; `None` where the ledger keeps none.
        gpus: of this host.
        zone: of dates.
        now: the end of what may be posted.
        flags: what the command line of the daemon said about where its files are.
    """
    lines: list[str] = []
    difference = None if history is None else repricing(old, new, history, zone, now)
    if difference is not None:
        lines.extend(_differences(difference, zone))
        if difference.comparable:
            command = _command(*flags, "--proposals")
            lines.append(f"`{command}` prints the lines that correct it, by GPU and owner of each hour.")
    if _undated(old, new, gpus, now):
        lines.append(UNDATED)
    return tuple(lines)


def proposals(
    prices: Tariff, history: PostedHistory, zone: ZoneInfo, now: Instant, flags: Sequence[str] = ()
) -> tuple[str, ...]:
    """A script for a shell: a command for each correction that is missing, all else in comments.

    Args:
        prices: those that hold.
        history: what is posted, by time.
        zone: of dates.
        now: the end of what may be posted.
        flags: where the files are.
    """
    difference = repricing(None, prices, history, zone, now)
    if difference is None:
        return (f"# {NOTHING}",)
    comments = [*_differences(difference, zone)]
    comments.extend(
        f"{printable(each.gpu.uuid)} ({printable(each.gpu.gpu_model)}): {dollars_text(each.posted)} posted, "
        f"{dollars_text(each.due)} by date."
        for each in difference.gpus
    )
    if any(rule.depends_on_location and not isinstance(rule.pricing, Listed) for rule in prices.hardware):
        comments.append(BY_PLACE)
    if difference.corrections:
        comments.extend(CAVEAT)
    day = day_of(difference.since, zone).name
    return (
        *(f"# {line}" for line in comments),
        *(command(correction, day, flags) for correction in difference.corrections),
    )


def command(correction: Correction, since: str, flags: Sequence[str]) -> str:
    """The line that enters a correction of prices since a day like 2026-11-10."""
    return _command(
        *flags,
        f"--amount={hundredths(correction.cents).replace(',', '')}",
        f"--date={correction.day}",
        f"--product={correction.product}",
        f"--team={correction.team}",
        f"--key={correction.key}",
        f"--reason={reason(since)}",
    )


def _undated(old: Tariff, new: Tariff, gpus: Iterable[Gpu], now: Instant) -> bool:
    """Whether a price without a date changed: it applies from now on."""
    if old.overheads != new.overheads:
        return True
    for gpu in gpus:
        before, after = old.hardware_price(gpu, now), new.hardware_price(gpu, now)
        if not before.priced or not after.priced:
            continue
        if accruals_of(before.rates) != accruals_of(after.rates) and not dated(after.rates):
            return True
        energy_before = before.energy and before.energy.per_kilowatt_hour
        energy_after = after.energy and after.energy.per_kilowatt_hour
        if energy_before != energy_after:
            return True
    return False


def _differences(difference: Repricing, zone: ZoneInfo) -> Iterator[str]:
    """Posted money, the money by date, and earlier corrections."""
    since = datetime.fromtimestamp(difference.since // NANOSECONDS_PER_SECOND, zone)
    gpus = "1 GPU" if len(difference.gpus) == 1 else f"{len(difference.gpus)} GPUs"
    yield (
        f"{dollars_text(difference.posted)} dollars are posted for {gpus} since {since.isoformat()} "
        f"and stay posted; by the dated prices it would have been {dollars_text(difference.due)}."
    )
    if not difference.comparable:
        yield UNCOMPARABLE.format(made=dollars_text(difference.already_corrected))
    elif difference.already_corrected:
        made = dollars_text(difference.already_corrected)
        yield f"Corrections of changed prices that were entered before, {made} dollars, are taken off."


def _command(*flags: str) -> str:
    return " ".join(["inference-cost-exporter adjust", *map(_quoted, flags)])


def _quoted(flag: str) -> str:
    """A flag for a shell, its value quoted where it must be."""
    name, equals, value = flag.partition("=")
    return f"{name}={shlex.quote(value)}" if equals else name
