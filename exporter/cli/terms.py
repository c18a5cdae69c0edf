"""A configuration as the cost model of one host sees it."""

from dataclasses import replace
from itertools import takewhile
from typing import Final

from exporter.config import Config
from exporter.cost.policy import Terms
from exporter.readings import NOWHERE, Place
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Hardware
from exporter.units import NANOSECONDS_PER_DAY, NANOSECONDS_PER_SECOND, Nanoseconds

GAP_INTERVALS: Final = 3
SHORTEST_GAP: Final[Nanoseconds] = 60 * NANOSECONDS_PER_SECOND
"""A tick longer than three intervals and a minute was not observed."""


def terms_of(config: Config, host: str, place: Place | None = NOWHERE, *, all_gpus: bool = False) -> Terms:
    """What a configuration says to the cost model of a host, and where that runs as far as it is known.

    `all_gpus`: this process was given all GPUs of the machine, unless the configuration says otherwise.

    `None` while that is being asked: what a price would then be looked up by is not known yet, and such GPUs
    are unpriced until it is. So are those whose rule goes by labels of the node that could not be read.
    """
    hardware, unmatched = config.hardware, config.unmatched_hardware
    if place is None:
        hardware = tuple(takewhile(lambda rule: not rule.depends_on_place, hardware))
    elif place.node_labels is None:
        hardware = tuple(takewhile(lambda rule: not rule.match.node_label, hardware))
    left_out = len(hardware) < len(config.hardware)
    asking = left_out or (place is None and unmatched == "estimate")
    if place is None or left_out:
        unmatched = "unpriced"
    where = _priced_by(place or NOWHERE, hardware)
    return Terms(
        tariff=Tariff(
            host,
            hardware,
            config.overheads,
            where,
            unmatched,
            config.catalogue,
            asking=asking,
            retired=config.retired,
            stand_ins=config.unmatched_hardware == "estimate",
        ),
        zone=config.timezone,
        ownership=config.ownership,
        split=config.split,
        compare=config.compare,
        limits=config.limits,
        interval=config.interval,
        gap_max=int(config.gap_max_days * NANOSECONDS_PER_DAY),
        gap_after=max(GAP_INTERVALS * config.interval, SHORTEST_GAP),
        all_gpus=all_gpus if config.gpus == "auto" else config.gpus == "all",
    )


def _priced_by(place: Place, hardware: tuple[Hardware, ...]) -> Place:
    """A place with those labels alone that a rule looks at: no other one changes a price."""
    names = {name for rule in hardware for name, _ in rule.match.node_label}
    return replace(place, node_labels=tuple(pair for pair in place.node_labels or () if pair[0] in names))
