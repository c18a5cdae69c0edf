"""Files of ledgers, metered through the ledger's own code."""

import contextlib
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from exporter.cost.postings import (
    CostOwner,
    GpuTimePosting,
    MoneyPosting,
    OwnerPhase,
    Postings,
    Segment,
    TokenPosting,
)
from exporter.cost.state import State
from exporter.ledger.ledger import Ledger
from exporter.readings import Gpu
from tests.finance.fleet.host_months import CHAT, LENGTH
from tests.kit.clock import clock_at
from tests.kit.units import HOUR, OCTOBER, SECOND


class MeteredHost:
    """A daemon whose ledger is open: one GPU of chat, charged by the hour."""

    def __init__(self, path: Path, gpu: str = "GPU-0", *, zone: str = "UTC", model: str = "H100") -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.gpu, self.zone = path, Gpu(gpu, model), zone
        self.clock = clock_at(OCTOBER)
        self.ledger = Ledger.open(path, self.clock)
        self.posted = 0

    def clone(self, path: Path, gpu: str) -> "MeteredHost":
        """The daemon of another machine, which was made from this one's image."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            connection.execute("VACUUM INTO ?", (str(path),))
        host = MeteredHost(path, gpu, zone=self.zone)
        host.posted = self.posted
        return host

    def meter(
        self,
        start: int,
        hours: int,
        amount: int,
        *,
        step: int = HOUR,
        owner: CostOwner = CHAT,
        gpus: Sequence[str] = (),
    ) -> "MeteredHost":
        """Post an amount for each of these hours from an instant on, or for other steps.

        It is that of each of these GPUs, by default of the host's one.
        """
        listed = [Gpu(uuid, self.gpu.gpu_model) for uuid in gpus] or [self.gpu]
        for number in range(hours):
            begin = start + number * step
            day = datetime.fromtimestamp(begin // SECOND, UTC).strftime("%Y-%m-%d")
            owner_phase = OwnerPhase(owner, "idle" if number % 2 else "decode")
            segment = Segment(
                begin,
                begin + step,
                day[:7],
                day,
                amount * len(listed),
                tuple(MoneyPosting(gpu, "rent", "configured", owner_phase, amount) for gpu in listed),
                tuple(GpuTimePosting(gpu, owner_phase, step, chargeable=step) for gpu in listed),
            )
            self.posted += amount * len(listed)
            self.clock.now = begin + step
            tokens = (TokenPosting(CHAT, "generation", 100),)
            self.ledger.post(
                Postings(self.clock.now, (segment,), tokens, day=day),
                State(wall=self.clock.now, accrued=self.posted),
            )
        return self

    def work(self, start: int, hours: int, price: int) -> "MeteredHost":
        """Post a price for each of these hours, day by day, of work without tokens."""
        begin, end, segments = start, start + hours * HOUR, []
        while begin < end:
            until = min(end, begin + 24 * HOUR - begin % (24 * HOUR))
            day = datetime.fromtimestamp(begin // SECOND, UTC).strftime("%Y-%m-%d")
            amount, owner_phase = (until - begin) // HOUR * price, OwnerPhase(CHAT, "other")
            money = (MoneyPosting(self.gpu, "rent", "configured", owner_phase, amount),)
            time = (GpuTimePosting(self.gpu, owner_phase, until - begin, chargeable=until - begin),)
            segments.append(Segment(begin, until, day[:7], day, amount, money, time))
            self.posted += amount
            begin = until
        self.clock.now = end
        state = State(wall=end, accrued=self.posted)
        self.ledger.post(Postings(end, tuple(segments), day=day), state)
        return self

    def close(self) -> Path:
        """End the daemon. Returns its file."""
        self.ledger.close()
        with contextlib.closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('timezone', ?)", (self.zone,))
        return self.path


def october(path: Path, amount: int, gpu: str = "GPU-0", *, zone: str = "UTC") -> Path:
    """A host of the whole of October, charged once a day for its hours."""
    host = MeteredHost(path, gpu, zone=zone)
    segments = []
    for day in range(31):
        start, name = OCTOBER + 24 * day * HOUR, f"2026-10-{day + 1:02d}"
        owner_phase = OwnerPhase(CHAT, "decode")
        money = (MoneyPosting(host.gpu, "rent", "configured", owner_phase, amount),)
        times = (GpuTimePosting(host.gpu, owner_phase, 24 * HOUR, chargeable=24 * HOUR),)
        segments.append(Segment(start, start + 24 * HOUR, "2026-10", name, amount, money, times))
    host.clock.now = OCTOBER + LENGTH
    host.ledger.post(
        Postings(host.clock.now, tuple(segments), day="2026-10-31"),
        State(wall=host.clock.now, accrued=31 * amount),
    )
    return host.close()
