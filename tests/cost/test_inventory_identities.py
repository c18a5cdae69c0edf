"""Random lives of a host's boards against a second reckoning: what a host costs does not depend on them.

The reckoning knows no slot: a host that is let or owned as a whole costs its price times the time that is
owed, whatever NVML lists of it.
"""

from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from exporter.cost.late_accrual import charge_late
from exporter.cost.policy import CostPolicy
from exporter.cost.postings import UnpricedTime
from exporter.readings import Gpu, GpuEvidence, GpuReading, Holder, MigInstance
from exporter.tariff.terms import Hardware
from tests.cost.checked_meter import CheckedMeter
from tests.cost.readings import CHAT, cost_policy, overhead, owned, rent
from tests.depth import examples
from tests.kit.units import HOUR, MINUTE, SECOND

MODELS = ("NVIDIA H100 80GB HBM3", "NVIDIA L4")
NETWORK = overhead("network", "1.10", "hour", "host")
REBOOT = 15 * MINUTE


@dataclass
class Life:
    """Sockets with a board in each, as a person who opens the host would see them.

    `up_time` is what hourly rent is owed for, by the rules of gaps; `time` is all that passed.
    `driver` is whether NVML answers: until it does for the first time, the host shows its boards on the bus.
    `most_time` is GPU time that there was at most.
    """

    priced: CostPolicy
    sockets: int
    addressed: bool
    made: int = 0
    boards: list[str] = field(default_factory=list)
    hidden: set[str] = field(default_factory=set)
    cut: set[str] = field(default_factory=set)
    order: list[int] = field(default_factory=list)
    boots: int = 1
    up_time: int = 0
    time: int = 0
    most_time: int = 0
    driver: bool = True
    waiting: list[UnpricedTime] = field(default_factory=list)

    def __post_init__(self) -> None:
        evidence = GpuEvidence(devices=self.sockets)
        self.meter = CheckedMeter(replace(self.priced, gap_after=MINUTE), evidence=evidence)
        self.boards = [self.another() for _ in range(self.sockets)]
        self.order = list(range(self.sockets))
        self.read(SECOND)
        self.up_time = self.time = self.most_time = 0

    def another(self) -> str:
        self.made += 1
        return f"GPU-{self.made}"

    def read(self, nanoseconds: int, *, silent: bool = False) -> None:
        readings = []
        for socket in self.order:
            uuid = self.boards[socket]
            if uuid in self.hidden:
                continue
            instances = (MigInstance(f"MIG-{uuid}", 1, gpu_slices=3),) if uuid in self.cut else None
            readings.append(
                GpuReading(
                    Gpu(uuid, MODELS[socket % 2]),
                    len(readings),
                    pci_bus_id=f"0000:{socket:02x}" if self.addressed else "",
                    utilization_ratio=None if instances else 0.5,
                    instances=instances,
                )
            )
        holders = [Holder(CHAT, reading.gpu.uuid) for reading in readings]
        reported = None if silent or not self.driver else readings
        outcome = self.meter.pass_by(nanoseconds, reported, holders=holders, boot=f"boot-{self.boots}")
        self.waiting += [each for segment in outcome.postings.segments for each in segment.unpriced]
        self.time += nanoseconds
        self.up_time += nanoseconds
        self.most_time += self.sockets * nanoseconds

    def restart(self, down: int, up: int) -> None:
        self.boots += 1
        self.meter.elapsed = -down
        self.read(down + up)
        if down > REBOOT:
            self.up_time -= down - 2 * 10 * SECOND
            self.most_time -= self.sockets * (down - 2 * 10 * SECOND)

    def resize(self, sockets: int, down: int, up: int) -> None:
        """Stop a VM and start it as another one, whose boards nobody has seen."""
        before, self.sockets = self.sockets, sockets
        self.boards = [self.another() for _ in range(sockets)]
        self.order = list(range(sockets))
        self.hidden, self.cut = set(), set()
        self.restart(down, up)
        self.most_time += max(0, before - sockets) * (down + up)

    def happen(self, what: str, how: Any) -> None:
        match what:
            case "pass":
                self.read(how)
            case "silent":
                self.read(how, silent=True)
            case "reboot":
                self.restart(*how)
            case "start":  # a VM that was stopped: other boards, or the same at other addresses
                self.boards = [self.another() for _ in self.boards]
                self.hidden, self.cut = set(), set()
                self.restart(*how)
            case "resize":
                self.resize(*how)
            case "swap":
                self.boards[how % self.sockets] = self.another()
                self.read(10 * SECOND)
            case "lose" | "return":
                uuid = self.boards[how % self.sockets]
                (self.hidden.add if what == "lose" else self.hidden.discard)(uuid)
                self.read(10 * SECOND)
            case "move":
                one, other = how[0] % self.sockets, how[1] % self.sockets
                self.boards[one], self.boards[other] = self.boards[other], self.boards[one]
                self.read(10 * SECOND)
            case "renumber":
                self.order = how[: self.sockets] if len(how) == self.sockets else self.order[::-1]
                self.read(10 * SECOND)
            case "cut":
                self.cut ^= {self.boards[how % self.sockets]}
                self.read(10 * SECOND)


lengths = st.integers(1, 3 * 3600).map(lambda seconds: seconds * SECOND)
starts = st.tuples(lengths, st.integers(1, 600).map(lambda seconds: seconds * SECOND))
numbers = st.integers(0, 7)
events = st.one_of(
    st.tuples(st.sampled_from(["pass", "silent"]), lengths | st.just(10 * SECOND)),
    st.tuples(st.sampled_from(["reboot", "start"]), starts),
    st.tuples(st.sampled_from(["swap", "lose", "return", "cut"]), numbers),
    st.tuples(st.just("move"), st.tuples(numbers, numbers)),
    st.tuples(st.just("renumber"), st.permutations(range(8))),
)
RENTED, BOUGHT = rent("55.04", 8), owned(gpus=8, life_years=Decimal(4))


def due(hardware: Hardware, life: Life) -> Fraction:
    """Picodollars that a host of eight costs: rent while it is up, amortization always."""
    if hardware is RENTED:
        return Fraction("55.04") * 10**12 * life.up_time / HOUR
    return Fraction(280_000, 4 * 8766) * 10**12 * life.time / HOUR


@examples(60)
@given(
    hardware=st.sampled_from([RENTED, BOUGHT]),
    addressed=st.booleans(),
    absent=st.integers(0, 14),
    story=st.lists(events, min_size=1, max_size=14),
)
def test_a_host_of_eight_costs_its_price_whatever_its_boards_do(
    *, hardware: Hardware, addressed: bool, absent: int, story: list[tuple[str, Any]]
) -> None:
    """Dollars are the price times the time owed, never more; GPU time is eight times what passed.

    The driver may be `absent` from its birth on, for so many events or for ever.
    """
    policy = cost_policy(hardware, overheads=(NETWORK,), all_gpus=True)
    life = Life(policy, 8, addressed, driver=not absent)
    for number, (what, how) in enumerate(story):
        life.driver = number >= absent
        life.happen(what, how)
        spent = life.meter.dollars() - life.meter.dollars(component="network")

        assert spent <= due(hardware, life)
        # Each of eight GPUs may carry less than a picodollar, and so may each that was released.
        assert due(hardware, life) - spent < 8 * (1 + len(story))
        network = Fraction("1.10") * 10**12 * life.time / HOUR
        assert 0 <= network - life.meter.dollars(component="network") < 8 * (1 + len(story))
        assert sum(life.meter.gpu_time.values()) == 8 * life.time
        assert life.meter.state.gpu_count == 8
        listed = {uuid for uuid in life.boards if uuid not in life.hidden}
        assert listed <= set(life.meter.state.gpus) or what == "silent" or not life.driver


resizes = st.tuples(
    st.just("resize"), st.tuples(st.integers(1, 8), lengths, st.integers(1, 600).map(lambda s: s * SECOND))
)


@examples(60)
@given(
    addressed=st.booleans(),
    every=st.booleans(),
    sockets=st.sampled_from([1, 2, 5]),
    story=st.lists(events | resizes, min_size=1, max_size=14),
)
def test_without_a_count_no_more_than_the_sockets_are_charged(
    *, addressed: bool, every: bool, sockets: int, story: list[tuple[str, Any]]
) -> None:
    """GPUs at 2 an hour each: at least those that are listed cost it, at most those that there are.

    A VM that comes back as another one costs what it has from its boot on.
    """
    life = Life(cost_policy(rent("2"), all_gpus=every), sockets, addressed)
    least = Fraction(0)
    for what, how in story:
        before = life.time
        life.happen(what, how)
        if what not in {"silent", "reboot", "start", "resize"}:
            listed = sum(uuid not in life.hidden for uuid in life.boards)
            if life.time - before <= MINUTE:
                least += Fraction(2 * listed) * 10**12 * (life.time - before) / HOUR
        most = Fraction(2) * 10**12 * life.most_time / HOUR

        assert least - 8 * (1 + len(story)) <= life.meter.dollars() <= most
        assert life.meter.state.gpu_count <= life.sockets
        if what == "resize":
            assert life.meter.state.gpu_count == life.sockets


@examples(60)
@given(sockets=st.sampled_from([1, 2, 5]), story=st.lists(events, min_size=1, max_size=8))
def test_time_before_the_first_gpu_is_charged_as_all_that_comes_after(
    *, sockets: int, story: list[tuple[str, Any]]
) -> None:
    """GPUs at 2 an hour each, and no driver: all that passed is of as many GPUs as the first read lists."""
    life = Life(cost_policy(rent("2"), all_gpus=True), sockets, addressed=True, driver=False)
    for what, how in story:
        life.happen(what, how)
    assert life.meter.dollars() == 0
    life.driver, life.hidden = True, set()
    life.read(10 * SECOND)
    _, late = charge_late(life.meter.state, life.waiting, life.meter.policy, life.meter.wall)

    total = life.meter.dollars() + sum(segment.accrued for segment in late.segments)
    due = Fraction(2 * sockets) * 10**12 * life.up_time / HOUR
    assert 0 <= due - total < sockets * (2 + len(life.waiting))
    assert sum(time.chargeable for segment in late.segments for time in segment.gpu_times) == sockets * (
        life.up_time - 10 * SECOND
    )
