"""The verb `status`: one host on one screen, from its daemon, or from the ledger where none answers."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporter.cli import flags, status
from exporter.cli.flags import flag
from exporter.cli.fleet_source import address_value
from exporter.cli.ledger_session import LedgerSession
from exporter.cli.status import VerbFailedError
from exporter.cli.terminal import waiting, write_colored
from exporter.cli.verb import Exits, verb
from exporter.clock import Clock, SystemClock
from exporter.readings import ReadFailedError
from exporter.reports import host_status
from exporter.reports.host_status import HostStatus, StatusFormError, of_daemon, of_ledger
from exporter.sources.http_client import Deadline, HttpRequest, secure_client, shared_client
from exporter.tariff.calendar import month_of

ADDRESS: Final = "http://127.0.0.1:9844"
TIMEOUT_SECONDS: Final = 5.0
BODY_BYTES_MAX: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class StatusOptions:
    """The daemon to ask, `None` for that of this machine, and the ledger to read where none answers."""

    config_file: Path | None = flags.daemon_config_flag(" and its budget, where no daemon answers")
    ledger_path: Path | None = flags.ledger_flag()
    source: str | None = flag(
        "--from",
        type=address_value,
        metavar="ADDRESS",
        help="address of a daemon, http(s)://HOST:PORT (default: port 9844 of this machine, then the ledger)",
    )
    as_json: bool = flags.json_flag()


@verb(
    "status",
    "show spend, month against budget, GPUs, servers and sources on one screen",
    examples=(
        ("", "the daemon of this machine, or its ledger where none answers"),
        ("--from=http://127.0.0.1:9844", "the daemon at an address, and nothing else"),
        ("--json", "the same for programs"),
    ),
    exits=Exits("printed", "no daemon answers, and no ledger can be read"),
    options=StatusOptions,
)
def shown_status(options: StatusOptions, clock: Clock | None = None, address: str | None = None) -> int:
    """Print the status of a host; returns 0, 1 (nothing answers) or 2 (the configuration is wrong).

    A ledger that is named is read, and no daemon is asked.
    """
    clock = clock or SystemClock()
    if options.source is not None:
        host = _daemon(options.source, clock)
    elif options.ledger_path is not None:
        host = _ledger(options, clock)
    else:
        try:
            host = _daemon(address or ADDRESS, clock)
        except VerbFailedError as error:
            write_colored(f"note: {error}; reading the ledger\n", sys.stderr)
            host = _ledger(options, clock)
    rows = shutil.get_terminal_size().lines if sys.stdout.isatty() else None
    sys.stdout.write(host_status.as_json(host) if options.as_json else host_status.text(host, rows))
    return status.OK


def _daemon(address: str, clock: Clock) -> HostStatus:
    """The status that a daemon answers.

    Raises:
        VerbFailedError: none answers, or something else does.
    """
    client = None
    try:
        with waiting(f"asking {address}"):
            client = secure_client(None) if address.startswith("https:") else shared_client()
            request = HttpRequest(f"{address}/cost.json", {"Accept": "application/json"}, address)
            response = client.request(request, Deadline(clock, TIMEOUT_SECONDS), BODY_BYTES_MAX)
        if response.status != 200:
            raise VerbFailedError(f"{address}: answers {response.status} to /cost.json")
        return of_daemon(response.body, address)
    except ReadFailedError as error:
        reason = str(error).removeprefix(f"{address}: ")
        raise VerbFailedError(f"{address}: no daemon answers: {reason}") from error
    except StatusFormError as error:
        raise VerbFailedError(f"{address}: the answer of /cost.json {error}") from error
    finally:
        if client is not None:
            client.close()


def _ledger(options: StatusOptions, clock: Clock) -> HostStatus:
    session = LedgerSession.of(options.config_file, options.ledger_path)
    now = clock.wall()
    with session.open() as (ledger, zone):
        month = month_of(now, zone).name
        totals = ledger.totals(now, (month,))
        budgets = (float(each.dollars_per_month) for each in session.config.budgets if not each.product)
        return of_ledger(totals, ledger.state(), str(session.path), month, next(budgets, None))
