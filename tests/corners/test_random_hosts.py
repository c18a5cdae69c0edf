"""Random lives of a host, driven through the real sampler, ledger, page and verbs, against another reckoning.

Late prices, gaps, reboots, suspend, a month's end, an hour that comes twice, reloads, a cloud that answers
late or forgets, disks that fail, kills, adjustments: in any order. `world` says what all of it should cost.
"""

import csv
import io
import json
import sqlite3
from contextlib import redirect_stdout
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.cli.explain import ExplainOptions, explained
from exporter.cli.focus import FocusOptions, write_focus
from exporter.cli.reconcile import ReconcileOptions as Bill
from exporter.cli.reconcile import reconciled
from exporter.config import parse
from exporter.config.settings import cost_policy
from exporter.ledger import unpriced_time
from exporter.ledger.adjustment_entry import AdjustmentRequest, enter
from exporter.ledger.reader import LedgerReader
from exporter.readings import (
    UNKNOWN_LOCATION,
    FailureReason,
    Gpu,
    GpuReading,
    HostLocation,
    QuickSource,
    ReadFailedError,
)
from exporter.reports.repricing import repricing
from exporter.vendors import NVIDIA
from tests.corners.exact_model import CONFIGURATIONS, GPUS, HOSTED, P5, Clocks, ExactHost, month
from tests.corners.simulated_host import HostClock, SimulatedHost
from tests.depth import examples
from tests.kit.units import DAY, HOUR, MINUTE, SECOND

START = "2026-10-31T21:20:00-04:00"
RISE = "2026-11-01T01:50:00-05:00"
"""Ten minutes before the price rises."""

NANO = Fraction(1, 10**9)
"""A billionth of a dollar: energy is divided among hours by whole millijoules, a tenth of it each."""


FULL = sqlite3.OperationalError("database or disk is full")


class Meters(QuickSource):
    """GPUs that draw 300 W while the host is awake."""

    vendor = NVIDIA
    name = "nvml"

    clock: HostClock

    def __init__(self, gpus: int) -> None:
        self.failing = False
        self.gpus = gpus

    def read(self) -> tuple[GpuReading, ...]:
        if self.failing:
            raise ReadFailedError(FailureReason.HUNG, "told to")
        drawn = self.clock.awake() * 300_000 // SECOND
        return tuple(
            GpuReading(Gpu(f"GPU-{number}", "H100"), number, utilization_ratio=0.5, energy=drawn)
            for number in range(self.gpus)
        )

    def close(self) -> None:
        """Nothing is held."""


class Disk:
    """Opens connections whose commits go well, are refused, or fail after they have reached the disk."""

    def __init__(self) -> None:
        self.state = "well"

    def __call__(self, uri: str) -> sqlite3.Connection:
        disk = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
                if sql == "COMMIT" and disk.state == "refuses":
                    raise FULL
                done = super().execute(sql, *parameters)
                if sql == "COMMIT" and disk.state == "lies":
                    raise FULL
                return done

        return sqlite3.connect(uri, uri=True, isolation_level=None, factory=Connection)


class Life:
    """The host and the reckoning, side by side."""

    def __init__(
        self, folder: Path, name: str, location: HostLocation | None, gpus: int, start: str = START
    ) -> None:
        self.name = name
        self.disk = Disk()
        self.meters = Meters(gpus)
        self.host = SimulatedHost(
            folder, CONFIGURATIONS[name], start, 20 * MINUTE, location, self.disk, self.meters
        )
        self.meters.clock = self.host.clock
        self.exact = ExactHost()
        self.raised = ExactHost()
        """What it would have cost, had what is agreed been raised from the beginning."""
        self.adjustments = 0
        self.silent = False
        self.tick(0)

    def tick(self, after: int) -> None:
        clock = self.host.clock
        served = (clock.true + after) // SECOND % 10**6 * 7
        self.host.endpoint.generation = float(served)
        last = self.exact.totals.last
        self.host.endpoint.failure = "timed out" if self.silent and last else ""
        if last and self.silent:  # what it serves meanwhile is read later
            served = last.served
        self.host.tick(after)
        now = Clocks(clock.wall(), clock.elapsed(), clock.boot(), clock.asleep, served)
        gpus = 0 if self.meters.failing else self.meters.gpus
        self.exact.tick(now, self.name, self.host.location, disk=self.disk.state, gpus=gpus)
        name = "raised" if self.name == "agreed" else self.name
        self.raised.tick(now, name, self.host.location, disk=self.disk.state, gpus=gpus)

    def restart(self, down: int, *, boots: bool) -> None:
        state, self.disk.state = self.disk.state, "well"  # else the books would be in memory
        (self.host.reboot if boots else self.host.restart)(down)
        self.disk.state = state
        self.host.clock.asleep = 0 if boots else self.host.clock.asleep
        self.exact.killed()
        self.raised.killed()
        self.tick(0)

    def sleep(self, asleep: int) -> None:
        self.host.clock.asleep += asleep
        self.tick(asleep)

    def reload(self, name: str) -> None:
        self.name = name
        self.host.reload(CONFIGURATIONS[name])
        self.tick(10 * SECOND)

    def move(self, location: HostLocation | None) -> None:
        self.host.location = location
        self.reload(self.name)

    def adjust(self, amount: int) -> None:
        self.adjustments += 1
        now = self.host.clock.wall()
        day = "2026-10-31" if month(now) == "2026-10" else "2026-11-01"
        entry = AdjustmentRequest(amount, day, "chat", "assistants", f"number {self.adjustments}")
        assert self.host.path is not None
        enter(self.host.path, entry, {"chat": frozenset({"assistants"})}, now)
        self.exact.adjustments.append((day[:7], amount))


durations = st.one_of(
    st.sampled_from([10 * SECOND, 60 * SECOND, 61 * SECOND, 15 * MINUTE, 15 * MINUTE + 1, HOUR]),
    st.integers(100, 5 * 360_000).map(lambda hundredths: hundredths * SECOND // 100),
)
happenings = st.one_of(
    st.tuples(st.sampled_from(["tick", "kill", "reboot", "sleep"]), durations),
    st.tuples(st.just("adjust"), st.integers(-(10**13), 10**13).filter(bool)),
    st.tuples(st.just("disk"), st.sampled_from(["well", "refuses", "lies"])),
    st.tuples(st.sampled_from(["nvml", "server"]), st.booleans()),
    st.tuples(st.just("gpus"), st.integers(1, GPUS)),
)
events = st.one_of(
    happenings,
    st.tuples(st.just("reload"), st.sampled_from(sorted(CONFIGURATIONS))),
    st.tuples(st.just("place"), st.sampled_from([None, UNKNOWN_LOCATION, P5])),
    st.tuples(st.just("clock"), st.sampled_from([-DAY, 0, DAY])),
)


def live(life: Life, events: list[tuple[str, Any]]) -> None:
    for what, how in events:
        match what:
            case "tick":
                life.tick(how)
            case "kill" | "reboot":
                life.restart(how, boots=what == "reboot")
            case "sleep":
                life.sleep(how)
            case "reload":
                life.reload(how)
            case "place":
                life.move(how)
            case "adjust":
                life.adjust(how)
            case "disk":
                life.disk.state = how
            case "clock":
                life.host.clock.off = how
            case "gpus":
                life.meters.gpus = how
            case "nvml":
                life.meters.failing = how
            case "server":
                life.silent = how


def focus(host: SimulatedHost, name: str) -> list[dict[str, str]]:
    printed = io.StringIO()
    with redirect_stdout(printed):
        assert write_focus(FocusOptions(host.file, host.path, name, None), host.clock) == 0
    return list(csv.DictReader(io.StringIO(printed.getvalue())))


def explanation(host: SimulatedHost) -> Fraction:
    """Dollars of all hours that are kept, asked when the running one is over."""
    printed = io.StringIO()
    question = ExplainOptions(host.file, host.path, None, 40 * 24 - 1, None, as_json=True)
    later = replace(host.clock, off=host.clock.off + HOUR - host.clock.wall() % HOUR)
    with redirect_stdout(printed):
        assert explained(question, later) == 0
    servers = json.loads(printed.getvalue())["servers"]
    return sum(Fraction(model["dollars"]) for server in servers for model in server["models"])


def reconciliation(life: Life, name: str) -> Fraction | None:
    """What the books lack of a bill that says by the hour what the rent was; `None` without any."""
    rents: dict[int, Fraction] = {}
    for (hour, _, component), dollars in life.exact.totals.money.items():
        if component == "rent" and dollars and month(hour * HOUR) == name:
            rents[hour] = rents.get(hour, Fraction(0)) + dollars
    if not rents:
        return None
    lines = ["BilledCost,BillingCurrency,ChargeCategory,ChargePeriodStart,ChargePeriodEnd"]
    for hour, dollars in rents.items():
        period = [
            datetime.fromtimestamp(at * 3600, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for at in (hour, hour + 1)
        ]
        lines.append(f"{float(dollars):.12f},USD,Usage,{period[0]},{period[1]}")
    bill = life.host.file.with_name("bill.csv")
    bill.write_text("\n".join(lines) + "\n")
    printed = io.StringIO()
    question = Bill(
        life.host.file, life.host.path, bill, name, (), frozenset({"rent"}), "billed", as_json=True
    )
    with redirect_stdout(printed):
        assert reconciled(question, life.host.clock) == 0
    total = json.loads(printed.getvalue())["total"]
    assert sum(part["picodollars"] for part in total["parts"]) == total["difference"]["picodollars"]
    return Fraction(total["bill"]["picodollars"] - total["books"]["picodollars"], 10**12)


def near(one: Fraction, other: Fraction) -> bool:
    return abs(one - other) <= NANO


def check(life: Life) -> None:
    """All that is told of money agrees: exactly among itself, and but for floors with the reckoning."""
    host, exact = life.host, life.exact
    totals = host.months()
    by_hand = exact.months()
    posted = {}
    for name in totals:
        lines = host.statement(name, "component")["rows"]
        posted.update({(name, line["component"]): Fraction(line["picodollars"], 10**12) for line in lines})
    off = {key: (posted.get(key, 0), by_hand.get(key, 0)) for key in posted.keys() | by_hand.keys()}
    assert {key: pair for key, pair in off.items() if not near(Fraction(pair[0]), Fraction(pair[1]))} == {}
    waits = exact.waits()
    last = host.clock.wall() // HOUR
    ahead = any(hour > last for hour, *_ in exact.totals.money)  # a wrong clock told them
    for name, amount in totals.items():
        rows = focus(host, name)
        assert sum(Fraction(row["BilledCost"]) for row in rows) == Fraction(amount, 10**12)
        hours = sum(Fraction(row["x_UnpricedQuantity"] or 0) for row in rows)
        assert near(hours, Fraction(waits.get(name, 0), HOUR))
        due = Fraction(exact.totals.owed_time.get(name, 0), HOUR)
        assert near(due, sum(Fraction(row["PricingQuantity"]) for row in rows if row["x_Phase"]))
        by_gpu = host.statement(name, "gpu")["rows"]
        assert near(due, sum(Fraction(line["gpu_seconds"]) for line in by_gpu) / 3600)
        estimated = sum((Fraction(row["x_EstimatedCost"]) for row in rows), Fraction(0))
        assert near(estimated, exact.totals.estimated.get(name, Fraction(0)))
        lacks = None if ahead else reconciliation(life, name)
        assert lacks is None or near(lacks, Fraction(0))
    metered = sum(dollars for (hour, *_), dollars in exact.totals.money.items() if hour <= last)
    if metered:
        assert near(explanation(host), metered)
    assert host.served("inference_tokens_total") == exact.totals.tokens
    assert host.path is not None
    with LedgerReader.open(host.path) as reader:
        for history in (reader.days(0, 10**8), reader.hours(0, 10**9)):
            assert sum(sum(sums.tokens.values()) for sums in (history or {}).values()) == exact.totals.tokens
    assert host.ledger is not None
    gpu_time = sum(
        host.ledger._committed.totals.counters.held.values()
    )  # a row that rested for a day is served no more
    assert gpu_time == pytest.approx(sum(exact.totals.owed_time.values()))
    assert host.served("inference_gpu_seconds_total") <= gpu_time / SECOND + 1e-6
    equivalent = host.served("inference_hosted_equivalent_dollars_total")
    assert equivalent == pytest.approx(float(exact.totals.equivalent) if life.name in HOSTED else 0, rel=1e-9)
    served = host.rows("inference_month_to_date_dollars")
    expected = sum(amount for name, amount in totals.items() if name <= month(host.clock.wall()))
    assert sum(served.values()) == pytest.approx(expected / 1e12, rel=1e-9, abs=1e-9)
    projected = sum(host.rows("inference_month_projected_dollars", month=month(host.clock.wall())).values())
    assert projected == pytest.approx(
        float(exact.projected(host.clock.wall(), life.name, host.location)), rel=1e-9, abs=1e-6
    )


@examples(25)
@given(
    st.sampled_from(sorted(CONFIGURATIONS)),
    st.sampled_from([None, P5, UNKNOWN_LOCATION]),
    st.integers(1, GPUS),
    st.lists(events, min_size=4, max_size=12),
)
@example(  # a day ahead, half a minute of energy is all that the last 24 hours have
    "nothing", None, 2, [("adjust", 2), ("adjust", -227), ("reload", "owned"), ("clock", DAY)]
)
def test_whatever_happens_it_costs_what_it_should(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    location: HostLocation | None,
    gpus: int,
    events_drawn: list[tuple[str, Any]],
) -> None:
    """Months by component, bills, explanations, the page and its projection, after everything is written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unpriced_time, "BATCH_RANGES", 10_000)
        life = Life(tmp_path_factory.mktemp("life"), name, location, gpus)
        live(life, events_drawn)
        life.disk.state = "well"
        life.meters.failing = life.silent = False
        for _ in range(3):
            life.tick(10 * SECOND)
        check(life)
        life.reload("rented")
        life.tick(10 * SECOND)
        check(life)
        assert life.exact.waits() == {}


@examples(20)
@given(
    st.integers(1, GPUS),
    st.lists(
        happenings | st.tuples(st.just("reload"), st.sampled_from(["nothing", "agreed"])),
        min_size=4,
        max_size=12,
    ),
)
def test_what_a_reload_says_is_what_it_would_have_cost(
    tmp_path_factory: pytest.TempPathFactory, gpus: int, events_drawn: list[tuple[str, Any]]
) -> None:
    """A price that is raised from a past date on: all that is posted by then, late or not, in cents."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unpriced_time, "BATCH_RANGES", 10_000)
        life = Life(tmp_path_factory.mktemp("life"), "agreed", UNKNOWN_LOCATION, gpus, RISE)
        live(life, events_drawn)
    life.disk.state = "well"
    for _ in range(3):
        life.reload("agreed")
    agreed, raised = (
        sum(dollars for (_, component), dollars in each.months().items() if component == "rent")
        for each in (life.exact, life.raised)
    )
    before, after = (
        cost_policy(parse(CONFIGURATIONS[name].encode()), "host-1") for name in ("agreed", "raised")
    )
    assert life.host.path is not None
    with LedgerReader.open(life.host.path) as reader:
        text = repricing(before.tariff, after.tariff, reader, before.zone, life.host.clock.wall())

    cents = 0 if text is None else sum(correction.cents for correction in text.corrections)
    assert abs(Fraction(cents, 100) - (raised - agreed)) <= Fraction(1, 100)
