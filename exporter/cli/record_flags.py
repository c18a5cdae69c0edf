"""The flags of `record`, without its code."""

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from exporter.cli import flags
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds

if TYPE_CHECKING:
    from exporter.cli.record import RecordOptions

MOST_TIMES: Final = 1000
LONGEST_SECONDS: Final = 3600
_UNITS: Final = {"s": 1, "m": 60, "h": 3600}


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the program's parser."""
    verb = flags.add_verb(
        verbs,
        "record",
        "write a server's pages over time to a folder, with names masked",
        examples=(
            ("--url=http://127.0.0.1:8000 --times=30 --every=10s --output=chat", "five minutes of a server"),
        ),
        exits=flags.Exits(
            "written",
            "the first read failed, or the folder cannot be written",
            "the URL, the engine, the folder or a flag is wrong",
        ),
    )
    verb.add_argument("--url", required=True, metavar="URL", help="where its metrics are read")
    verb.add_argument(
        "--engine", metavar="NAME", help="what it runs; see docs/engines.md (default: its page tells)"
    )
    verb.add_argument(
        "--times",
        type=_times,
        default=12,
        metavar="N",
        help=f"how often it is read, up to {MOST_TIMES} (default 12)",
    )
    verb.add_argument(
        "--every",
        type=_every,
        default="10s",
        metavar="TIME",
        help="time from one read to the next, like 10s or 5m, up to 1h (default 10s)",
    )
    verb.add_argument(
        "--output", type=Path, required=True, metavar="FOLDER", help="the folder to make; it must not exist"
    )
    verb.add_argument(
        "--bearer-token-file", type=Path, metavar="FILE", help="the token that the server asks for"
    )
    verb.add_argument(
        "--ca-file",
        type=Path,
        metavar="FILE",
        help="who signed its certificate, where no public authority did",
    )
    verb.set_defaults(run=_record)


def question(chosen: argparse.Namespace) -> "RecordOptions":
    """What they ask."""
    from exporter.cli.record import RecordOptions  # noqa: PLC0415 - only when it is asked

    return RecordOptions(
        chosen.url,
        chosen.engine,
        chosen.times,
        chosen.every,
        chosen.output,
        chosen.bearer_token_file,
        chosen.ca_file,
    )


def _record(chosen: argparse.Namespace) -> int:
    from exporter.cli.record import record  # noqa: PLC0415

    return record(question(chosen))


def _times(text: str) -> int:
    number = int(text) if re.fullmatch(r"[0-9]{1,6}", text) else 0
    if not 1 <= number <= MOST_TIMES:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of reads: write one from 1 to {MOST_TIMES}")
    return number


def _every(text: str) -> Nanoseconds:
    match = re.fullmatch(r"([0-9]{1,4})([smh])", text)
    number = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 1 <= number <= LONGEST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is no interval: write one from 1s to 1h, like 10s or 5m")
    return number * NANOSECONDS_PER_SECOND
