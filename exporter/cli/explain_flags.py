"""The flags of `explain`, without its code."""

import argparse
import math
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from exporter.cli.explain import ExplainOptions

LONGEST_HOURS: Final = 40 * 24
"""History by the hour is kept for 40 days."""


def add(verb: argparse.ArgumentParser) -> None:
    """Add them to the verb's parser."""
    verb.add_argument(
        "server",
        nargs="?",
        metavar="SERVER",
        help="as NAME or NAMESPACE/NAME (default: all, the dearest first)",
    )
    verb.add_argument(
        "--window",
        type=_hours,
        default="60m",
        metavar="TIME",
        help="60m, what the metrics are taken over, or whole hours or days up to 40d (default 60m)",
    )
    verb.add_argument(
        "--against",
        type=_price,
        metavar="DOLLARS",
        help="a price per million tokens to hold it against, such as one that somebody else came to",
    )
    verb.add_argument("--json", action="store_true", help="print JSON")


def question(chosen: argparse.Namespace) -> "ExplainOptions":
    """What they ask."""
    from exporter.cli.explain import ExplainOptions  # noqa: PLC0415 - only when it is asked

    return ExplainOptions(
        chosen.config_file, chosen.ledger_path, chosen.server, chosen.window, chosen.against, chosen.json
    )


def _hours(text: str) -> int:
    """Hours of a window like 24h or 7d; `60m` is one."""
    match = re.fullmatch(r"(\d{1,4})([hd])", text, re.ASCII)
    hours = 1 if text == "60m" else int(match[1]) * (24 if match[2] == "d" else 1) if match else 0
    if not 1 <= hours <= LONGEST_HOURS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no window: write 60m, or hours or days up to 40d, like 24h or 7d"
        )
    return hours


def _price(text: str) -> float:
    try:
        price = float(text)
    except ValueError:
        price = math.nan
    if not 0 < price < math.inf:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no price: write dollars per million tokens above 0, like 1.10"
        )
    return price
