"""The verbs `prices show` and `prices update`; the one place that writes a price file."""

import argparse
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from exporter.cli import flags, status
from exporter.cli.flags import Exits
from exporter.cli.replacement import replace_file
from exporter.cli.status import VerbFailedError, failing, with_exit_status
from exporter.cli.terminal import columns, fitted, write_colored
from exporter.clock import SystemClock
from exporter.config import load
from exporter.config.load import price_path
from exporter.config.problems import RefusedError
from exporter.readings import HostLocation
from exporter.reports import price_list
from exporter.tariff.catalogue import CATALOGUE
from exporter.tariff.csv_tables import CatalogueError
from exporter.tariff.price_file import MOST_BYTES, PriceFileError, price_file
from exporter.units import NANOSECONDS_PER_SECOND

CONFIG: Final = "the daemon's configuration in YAML, for its prices.path"

MODE: Final = 0o644
"""List prices are public, and the daemon may run as another user than the verb."""


def add(verbs: flags.Verbs) -> None:
    """Add them to the program's parser."""
    group = flags.add_group(
        verbs,
        "prices",
        "show the list prices in use, or replace them (cost of requests: `price`)",
        "show --cloud=aws",
    )
    acts = group.add_subparsers(dest="act", required=True, metavar="show|update")
    _add_show(acts)
    _add_update(acts)


def _add_show(verbs: flags.Verbs) -> None:
    show = flags.add_verb(
        verbs,
        "show",
        "show which list prices are in use, how old they are, and what an instance type costs",
        examples=(
            ("", "the price file in use, and what it has of each cloud"),
            (
                "--cloud=aws --instance-type=p5.48xlarge --region=eu-north-1",
                "the price of a type in a region, and where it is from",
            ),
            ("--json", "the same for programs"),
        ),
        exits=Exits("printed", "type not listed, or list damaged", "the price file or a flag is wrong"),
        of="prices",
    )
    flags.config(show, CONFIG)
    show.add_argument("--cloud", metavar="CLOUD", help="whose instance type it is: aws, azure, gcp, ...")
    show.add_argument("--instance-type", metavar="TYPE", help="the type, as its cloud spells it")
    show.add_argument("--region", metavar="REGION", default="", help="the region, as its cloud spells it")
    show.add_argument("--json", action="store_true", help="print JSON")
    show.set_defaults(run=_run_show)


def _add_update(verbs: flags.Verbs) -> None:
    update = flags.add_verb(
        verbs,
        "update",
        "check a price file, and put it where the daemon reads it",
        examples=(
            ("prices.csv", "replace the list prices of this host; reload the daemon to use them"),
            ("prices.csv --dry-run", "check the file, and change nothing"),
        ),
        exits=Exits(
            "written, or a dry run that would be",
            "it cannot be written",
            "the price file, the configuration or a flag is wrong",
        ),
        of="prices",
    )
    flags.config(update, CONFIG)
    update.add_argument(
        "file",
        metavar="FILE",
        help="the price file, see docs/prices.md; - reads standard input, as into a container",
    )
    update.add_argument("--dry-run", action="store_true", help="check the file, and write nothing")
    update.set_defaults(run=_run_update)


def _run_show(options: argparse.Namespace) -> int:
    named = options.cloud is not None, options.instance_type is not None
    if any(named) != all(named) or (options.region and not all(named)):
        options.parser.error("--cloud and --instance-type go together, and --region with them")
    wanted = PriceQuery(options.cloud, options.instance_type, options.region) if all(named) else None
    return show(options.config_file, wanted, as_json=options.json)


def _run_update(options: argparse.Namespace) -> int:
    source = None if options.file == "-" else Path(options.file)
    return update(source, options.config_file, dry_run=options.dry_run)


@dataclass(frozen=True, slots=True)
class PriceQuery:
    """The instance type that is asked about; `region` is empty where none is."""

    cloud: str
    instance_type: str
    region: str


@with_exit_status
def show(config_file: Path | None, wanted: PriceQuery | None, *, as_json: bool) -> int:
    """Print which list prices are in use, or one of them; returns the exit status."""
    config = load(config_file)
    path = None if config.catalogue.bundled else config.prices_path
    now = SystemClock().wall()
    with failing(CatalogueError, at="the list prices cannot be read"):
        if wanted is None:
            listed, text = True, price_list.summary(config.catalogue, path, now, as_json=as_json)
        else:
            location = HostLocation(wanted.cloud, wanted.instance_type, wanted.region)
            listed, text = price_list.price(config.catalogue, location, as_json=as_json)
    write_colored(text if as_json else fitted(text, columns()))
    return status.OK if listed else status.FAILED


@with_exit_status
def update(source: Path | None, config_file: Path | None, *, dry_run: bool) -> int:
    """Check a price file (`None`: standard input) and put it in its place; returns the exit status.

    The file before it is replaced at once or not at all.
    """
    target = price_path(config_file)
    name = "standard input" if source is None else str(source)
    today = datetime.fromtimestamp(SystemClock().wall() // NANOSECONDS_PER_SECOND, UTC).date()
    try:
        data = _read(source)
        checked = price_file(data, today, price_list.far_off(CATALOGUE))
    except PriceFileError as error:
        raise RefusedError("\n".join(f"{name}: {problem}" for problem in error.problems)) from error
    except (OSError, ValueError) as error:
        raise RefusedError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not dry_run:
        try:
            replace_file(target, checked.text.encode(), mode=MODE)
        except OSError as error:
            raise VerbFailedError(
                f"{target}: cannot be written: {error.strerror or error}; prices.path names another file"
            ) from error
    write_colored(fitted(price_list.written(checked, target, CATALOGUE, dry_run=dry_run), columns()))
    return status.OK


def _read(source: Path | None) -> bytes:
    """The file's bytes, at most one more than a price file may have."""
    if source is None:
        return sys.stdin.buffer.read(MOST_BYTES + 1)
    with source.open("rb") as file:
        return file.read(MOST_BYTES + 1)
