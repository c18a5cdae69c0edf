"""The wiring of `prices show` and `prices update`, and the one place that writes a price file."""

import os
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from exporter.cli import status
from exporter.cli.terminal import complain, tell
from exporter.clock import SystemClock
from exporter.config import ConfigError, load
from exporter.config.load import price_path
from exporter.readings import HostLocation
from exporter.reports import price_list
from exporter.tariff.catalogue import CATALOGUE
from exporter.tariff.csv_tables import CatalogueError
from exporter.tariff.price_file import MOST_BYTES, PriceFile, PriceFileError, price_file
from exporter.units import NANOSECONDS_PER_SECOND

MODE = 0o644
"""List prices are public, and the daemon may run as another user than the verb."""


@dataclass(frozen=True, slots=True)
class PriceQuery:
    """The instance type that is asked about; `region` is empty where none is."""

    cloud: str
    instance_type: str
    region: str


def show(config_file: Path | None, wanted: PriceQuery | None, *, as_json: bool) -> int:
    """Print which list prices are in use, or one of them; returns the exit status."""
    try:
        config = load(config_file)
    except ConfigError as error:
        complain(error)
        return status.CONFIGURATION
    path = None if config.catalogue.bundled else config.prices_path
    now = SystemClock().wall()
    try:
        if wanted is None:
            tell(price_list.summary(config.catalogue, path, now, as_json=as_json))
            return status.OK
        place = HostLocation(wanted.cloud, wanted.instance_type, wanted.region)
        found, text = price_list.price(config.catalogue, place, as_json=as_json)
    except CatalogueError as error:
        complain(f"the list prices cannot be read: {error}")
        return status.FAILED
    tell(text)
    return status.OK if found else status.FAILED


def update(source: Path | None, config_file: Path | None, *, dry_run: bool) -> int:
    """Check a price file (`None`: standard input) and put it in its place; returns the exit status.

    The file before it is replaced at once or not at all.
    """
    try:
        target = price_path(config_file)
    except ConfigError as error:
        complain(error)
        return status.CONFIGURATION
    name = "standard input" if source is None else str(source)
    today = datetime.fromtimestamp(SystemClock().wall() // NANOSECONDS_PER_SECOND, UTC).date()
    try:
        data = _read(source)
        checked = price_file(data, today, price_list.far_off(CATALOGUE))
    except PriceFileError as error:
        complain("\n".join(f"{name}: {problem}" for problem in error.problems))
        return status.CONFIGURATION
    except (OSError, ValueError) as error:
        complain(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}")
        return status.CONFIGURATION
    if not dry_run:
        try:
            _replace(target, checked)
        except OSError as error:
            complain(
                f"{target}: cannot be written: {error.strerror or error}; prices.path names another file"
            )
            return status.FAILED
    tell(price_list.written(checked, target, CATALOGUE, dry_run=dry_run))
    return status.OK


def _read(source: Path | None) -> bytes:
    """At most one byte more than a price file may have."""
    if source is None:
        return sys.stdin.buffer.read(MOST_BYTES + 1)
    with source.open("rb") as file:
        return file.read(MOST_BYTES + 1)


def _replace(target: Path, checked: PriceFile) -> None:
    """Write beside the target, and rename: a reader sees the old file or the new one, whole."""
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(checked.text)
            file.flush()
            os.fchmod(file.fileno(), MODE)
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
