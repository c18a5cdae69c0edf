"""What a reload says of money that is posted already: it stays, and here is what corrects it. Pure."""

import shlex
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from exporter.readings import Gpu
from exporter.reports.entered import reason
from exporter.reports.price_changes import amounts_of, dated
from exporter.reports.repricing import CENT, History, Repricing, repricing
from exporter.reports.rounding import hundredths, rounded
from exporter.tariff.tariff import Tariff
from exporter.units import NANOSECONDS_PER_SECOND, Instant

UNDATED: Final = (
    "A price without `from`, or an amount beside the hardware, changed: it counts from now on, and what is "
    "posted stays posted."
)

CAVEAT: Final = (
    "Each GPU and component is reckoned up to the last tick; among products it is divided as that component "
    "was posted to them in those hours. Energy, overheads and other adjustments are not in it. When prices "
    "change again, what was entered is taken off by its reason: leave the beginning of that as it is."
)

UNCOMPARABLE: Final = (
    "Corrections of changed prices that were entered before come to {made} dollars and reach into time of "
    "which the new prices have no date, or none: what is still missing cannot be told, and no line is given. "
    "Set the month right by `report month` and `adjust`, or give the prices the dates from which they held."
)


def sentences(
    old: Tariff,
    new: Tariff,
    history: History | None,
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
    told = None if history is None else repricing(old, new, history, zone, now)
    if told is not None:
        lines.extend(_correction(told, zone, flags))
    if _undated(old, new, gpus, now):
        lines.append(UNDATED)
    return tuple(lines)


def _undated(old: Tariff, new: Tariff, gpus: Iterable[Gpu], now: Instant) -> bool:
    """Whether something that has no date costs something else from now on: it says nothing of the past."""
    if old.overheads != new.overheads:
        return True
    for gpu in gpus:
        before, after = old.hardware_price(gpu, now), new.hardware_price(gpu, now)
        if not before.priced or not after.priced:
            continue
        if amounts_of(before.rates) != amounts_of(after.rates) and not dated(after.rates):
            return True
        if before.energy is not None and after.energy is not None:
            changed = before.energy.per_kilowatt_hour != after.energy.per_kilowatt_hour
        else:
            changed = before.energy is not after.energy
        if changed:
            return True
    return False


def _correction(told: Repricing, zone: ZoneInfo, flags: Sequence[str]) -> Iterator[str]:
    """What is posted, what it would have been, and the lines that correct it."""
    posted, due, made = (
        hundredths(*rounded([amount], CENT)) for amount in (told.posted, told.due, told.entered)
    )
    since = datetime.fromtimestamp(told.since // NANOSECONDS_PER_SECOND, zone)
    gpus = "1 GPU" if told.gpus == 1 else f"{told.gpus} GPUs"
    yield (
        f"{posted} dollars are posted for {gpus} since {since.isoformat()} and stay posted; by the new "
        f"prices it would have been {due}."
    )
    if not told.comparable:
        yield UNCOMPARABLE.format(made=made)
        return
    if told.entered:
        yield f"Corrections of changed prices that were entered before, {made} dollars, are taken off."
    yield "An estimate of the correction; enter each line once:"
    for correction in told.corrections:
        said = (
            *flags,
            f"--amount={hundredths(correction.cents).replace(',', '')}",
            f"--date={correction.day}",
            f"--product={correction.product}",
            f"--team={correction.team}",
            f"--reason={reason(since.strftime('%Y-%m-%d'))}",
        )
        yield " ".join(["inference-cost-exporter adjust", *map(_quoted, said)])
    yield CAVEAT


def _quoted(flag: str) -> str:
    """A flag for a shell, its value quoted where it must be."""
    name, _, value = flag.partition("=")
    return f"{name}={shlex.quote(value)}"
