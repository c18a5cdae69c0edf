"""The history of a fleet beside the ledgers of its daemons."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from exporter.readings import ServerKey
from exporter.units import NANOSECONDS_PER_HOUR, PICODOLLARS_PER_DOLLAR
from tests.e2e.backfill.daemon_ledgers import Metered, Truth, read_truth, write_ledger
from tests.e2e.backfill.recorded_fleet import RecordedFleet
from tests.e2e.daemon import ROOT

UNNAMED_SERVERS: Final = ServerKey("", "without a server")
"""GPU time of no server, or of servers that no label ties to a GPU."""
UNNAMED: Final = ("unallocated", "unattributed")

Totals = dict[tuple[str, ServerKey], Metered]
"""By month and server."""


def history(address: str, fleet: RecordedFleet, folder: Path, *arguments: str) -> dict[str, Any]:
    """Run the verb over the fleet's whole period, as its users do."""
    answer = run_history(address, folder, fleet.config, *period(fleet), "--json", *arguments)
    assert answer.returncode == 0, answer.stderr
    document: dict[str, Any] = json.loads(answer.stdout)
    return document


def period(fleet: RecordedFleet) -> tuple[str, str]:
    """The fleet's period, as the verb takes it: the first day, and the last."""
    return f"--since={_text(fleet.begin)}", f"--until={_text(fleet.end - 1)}"


def _text(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


def run_history(address: str, folder: Path, config: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the verb with a configuration, in a process of its own."""
    path = folder / "history.yaml"
    path.write_text(config, encoding="utf-8")
    command = [sys.executable, "-m", "exporter", "history", f"--from={address}", f"--config.file={path}"]
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, check=False, cwd=ROOT, timeout=600
    )


def metered(fleet: RecordedFleet, folder: Path) -> Totals:
    """What the daemons posted, by month and server: ledgers that the folder lacks are written."""
    totals: Totals = {}
    for host in fleet.hosts:
        path = folder / f"{host.name}.db"
        if not path.exists():
            write_ledger(fleet, host, path)
        add(totals, fleet, read_truth(fleet, host, path))
    return totals


def add(totals: Totals, fleet: RecordedFleet, truth: Truth) -> None:
    """Add the months of a host."""
    for (month, host, key), amounts in truth.items():
        known = key.server not in UNNAMED and host not in fleet.unlabeled
        holder = key if known else UNNAMED_SERVERS
        totals.setdefault((month, holder), Metered()).add(replace(amounts, tokens=Counter()))
        if amounts.tokens:  # the server's own, whoever holds its GPUs
            totals.setdefault((month, key), Metered()).add(Metered(tokens=amounts.tokens))


def reckoned(document: dict[str, Any]) -> Totals:
    """What the history says, in the same form."""
    totals: Totals = {}
    for server in document["servers"]:
        named = server["server"] not in UNNAMED
        key = ServerKey(server["namespace"], server["server"]) if named else UNNAMED_SERVERS
        for month in server["months"]:
            hours = {
                phase: round(month[f"{phase}_gpu_hours"] * NANOSECONDS_PER_HOUR)
                for phase in ("busy", "idle", "unobserved")
            }
            amounts = Metered(
                month["picodollars"] or 0,
                Counter(hours),
                Counter(month["tokens"]),
            )
            totals.setdefault((month["month"], key), Metered()).add(amounts)
    return totals


class Difference(NamedTuple):
    """A figure of a server's month: as the ledgers have it, and as the history does."""

    month: str
    server: ServerKey
    figure: str
    posted: float
    reckoned: float

    @property
    def ratio(self) -> float:
        """How far the history is off, of what was posted."""
        if self.posted == self.reckoned:
            return 0.0
        return abs(self.reckoned - self.posted) / self.posted if self.posted else float("inf")


@dataclass(frozen=True, slots=True)
class MonthFigures:
    """Figures of a server's month that are compared."""

    dollars: float
    gpu_hours: float
    busy_gpu_hours: float
    tokens: float

    @classmethod
    def of(cls, amounts: Metered) -> "MonthFigures":
        """The figures of a month; busy is all that is neither idle nor unobserved."""
        time = sum(amounts.gpu_time.values())
        busy = time - amounts.gpu_time["idle"] - amounts.gpu_time["unobserved"]
        return cls(
            amounts.picodollars / PICODOLLARS_PER_DOLLAR,
            time / NANOSECONDS_PER_HOUR,
            busy / NANOSECONDS_PER_HOUR,
            float(sum(amounts.tokens.values())),
        )


FIGURES: Final = ("dollars", "gpu_hours", "busy_gpu_hours", "tokens")


def differences(posted: Totals, estimated: Totals) -> Iterator[Difference]:
    """Every figure of every month and server of either; nobody's tokens are not compared."""
    for month, server in sorted(posted.keys() | estimated.keys()):
        ours = MonthFigures.of(posted.get((month, server), Metered()))
        theirs = MonthFigures.of(estimated.get((month, server), Metered()))
        for figure in FIGURES if server != UNNAMED_SERVERS else FIGURES[:2]:
            yield Difference(month, server, figure, getattr(ours, figure), getattr(theirs, figure))


def worst(all_differences: Iterable[Difference], figure: str) -> Difference:
    """The difference of a figure that is the largest."""
    return max((one for one in all_differences if one.figure == figure), key=lambda one: one.ratio)
