"""The verbs `prices show` and `prices update`; the one place that writes a price file."""

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from exporter.cli import flags, status
from exporter.cli.flags import FlagError, flag
from exporter.cli.replacement import replacing
from exporter.cli.status import VerbFailedError, failing
from exporter.cli.terminal import columns, fitted, write_colored
from exporter.cli.verb import Exits, verb
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


@dataclass(frozen=True, slots=True)
class ShowFlags:
    """The price list in use, or the instance type that is asked about."""

    config_file: Path | None = flags.file_flag("--config.file", CONFIG)
    cloud: str | None = flag(
        "--cloud", metavar="CLOUD", help="whose instance type it is: aws, azure, gcp, ..."
    )
    instance_type: str | None = flag(
        "--instance-type", metavar="TYPE", help="the type, as its cloud spells it"
    )
    region: str = flag("--region", default="", metavar="REGION", help="the region, as its cloud spells it")
    as_json: bool = flags.json_flag()


@dataclass(frozen=True, slots=True)
class UpdateFlags:
    """The price file to put in its place."""

    config_file: Path | None = flags.file_flag("--config.file", CONFIG)
    file: str = flag(
        metavar="FILE", help="the price file, see docs/prices.md; - reads standard input, as into a container"
    )
    dry_run: bool = flags.switch("--dry-run", "check the file, and write nothing")


@verb(
    "prices show",
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
    options=ShowFlags,
)
def show(options: ShowFlags) -> int:
    """Print which list prices are in use, or one of them; returns the exit status."""
    named = options.cloud is not None, options.instance_type is not None
    if any(named) != all(named) or (options.region and not all(named)):
        raise FlagError("--cloud and --instance-type go together, and --region with them")
    config = load(options.config_file)
    path = None if config.catalogue.bundled else config.prices_path
    with failing(CatalogueError, at="the list prices cannot be read"):
        if options.cloud is None or options.instance_type is None:
            now = SystemClock().wall()
            listed, text = True, price_list.summary(config.catalogue, path, now, as_json=options.as_json)
        else:
            location = HostLocation(options.cloud, options.instance_type, options.region)
            listed, text = price_list.price(config.catalogue, location, as_json=options.as_json)
    write_colored(text if options.as_json else fitted(text, columns()))
    return status.OK if listed else status.FAILED


@verb(
    "prices update",
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
    options=UpdateFlags,
)
def update(options: UpdateFlags) -> int:
    """Check a price file and put it in its place, at once or not at all; returns the exit status."""
    target = price_path(options.config_file)
    name = "standard input" if options.file == "-" else options.file
    today = datetime.fromtimestamp(SystemClock().wall() // NANOSECONDS_PER_SECOND, UTC).date()
    try:
        source = sys.stdin.buffer if options.file == "-" else open(options.file, "rb")  # noqa: PTH123, SIM115
        with source as file:
            data = file.read(MOST_BYTES + 1)  # one more than a price file may have
        checked = price_file(data, today, price_list.far_off(CATALOGUE))
    except PriceFileError as error:
        raise RefusedError("\n".join(f"{name}: {problem}" for problem in error.problems)) from error
    except (OSError, ValueError) as error:
        raise RefusedError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not options.dry_run:
        try:
            with replacing(target, mode=MODE) as price_list_file:
                price_list_file.write(checked.text)
        except OSError as error:
            raise VerbFailedError(
                f"{target}: cannot be written: {error.strerror or error}; prices.path names another file"
            ) from error
    text = price_list.written(checked, target, CATALOGUE, dry_run=options.dry_run)
    write_colored(fitted(text, columns()))
    return status.OK
