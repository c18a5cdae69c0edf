"""The flags of `reconcile`, without its code."""

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from exporter.cli import flags

if TYPE_CHECKING:
    from exporter.cli.reconcile import ReconcileOptions

LONGEST: Final = 1000
"""Characters of a resource's id."""


def add(verb: argparse.ArgumentParser) -> None:
    """Add them to the verb's parser."""
    verb.add_argument(
        "--invoice",
        type=Path,
        required=True,
        metavar="FILE",
        help="the bill: a FOCUS export as CSV, plain or gzip, or a CSV of date,dollars",
    )
    verb.add_argument(
        "--month", type=flags.month_value, metavar="YYYY-MM", help="the month (default: the one of the bill)"
    )
    verb.add_argument(
        "--resource",
        dest="resources",
        type=_resource,
        action="append",
        metavar="ID",
        help="this host on the bill, by id, the last part of its id, or name; may be repeated "
        "(default: every row counts)",
    )
    verb.add_argument(
        "--components",
        type=_components,
        default="rent",
        metavar="NAMES",
        help="components of the books that are on the bill, like rent,storage (default rent)",
    )
    verb.add_argument(
        "--cost",
        choices=("billed", "effective"),
        default="billed",
        help="BilledCost, what is to be paid, or EffectiveCost, with commitments spread over their use "
        "(default billed)",
    )
    verb.add_argument("--json", action="store_true", help="print JSON")


def question(chosen: argparse.Namespace) -> "ReconcileOptions":
    """What they ask."""
    from exporter.cli.reconcile import ReconcileOptions  # noqa: PLC0415 - only when it is asked

    return ReconcileOptions(
        config_file=chosen.config_file,
        ledger_path=chosen.ledger_path,
        invoice=chosen.invoice,
        month=chosen.month,
        resources=tuple(chosen.resources or ()),
        components=chosen.components,
        cost=chosen.cost,
        as_json=chosen.json,
    )


def _resource(text: str) -> str:
    if not text.strip() or len(text) > LONGEST:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no resource: write its id as the bill does")
    return text.strip()


def _components(text: str) -> frozenset[str]:
    """Names like rent,storage."""
    names = text.split(",")
    if not all(re.fullmatch(r"[a-z][a-z0-9_-]{0,63}", name) for name in names):
        raise argparse.ArgumentTypeError(f"{text!r} are no components: write names like rent,storage")
    return frozenset(names)
