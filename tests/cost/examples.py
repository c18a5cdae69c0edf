"""The worked examples, run through the model: each gives what the arithmetic on the page must give."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Final
from zoneinfo import ZoneInfo

from exporter.cost.advance import advance
from exporter.cost.late_accrual import charge_late
from exporter.cost.load import headroom, load_rates, load_ratio
from exporter.cost.policy import CostPolicy, OwnershipRule, Weights
from exporter.cost.postings import UNASSIGNED, CostOwner, GpuUse, OwnerPhase, Phase, UnpricedTime
from exporter.cost.projection import RecentUsage, UsageHour, project
from exporter.cost.quotients import per_million
from exporter.cost.state import State
from exporter.ledger.adjustments import Adjustment
from exporter.ledger.history import GpuOwner, HistorySums
from exporter.readings import Frame, Gpu, LoadReading, TokenKind
from exporter.report import ServerOwner
from exporter.reports.repricing import repricing
from exporter.tariff.hosted import HostedPrice
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Billing, Electricity, Hardware, HardwareMatch, Rented, RentPrice
from tests.cost.checked_meter import CheckedMeter
from tests.cost.division_examples import DIVISION_EXAMPLES
from tests.cost.level_examples import LEVEL_EXAMPLES
from tests.cost.readings import CHAT, START, allocate, cost_policy, h100, moment, overhead, owned, page, rent
from tests.cost.sharing_examples import SHARING_EXAMPLES
from tests.cost.tco_examples import TCO_EXAMPLES
from tests.kit.units import DOLLAR, HOUR, MINUTE, SECOND

MACHINE: Final = "owned-machine"


def owned_machine() -> list[float]:
    """8 H100 for an hour: 8 x 750 W at a host factor of 1.7 are 10.2 kW."""
    power = Electricity(Decimal("0.12"), pue_ratio=Decimal("1.4"), host_factor_ratio=Decimal("1.7"))
    meter = CheckedMeter(cost_policy(owned(energy=power, support_dollars_per_year=Decimal(28_000))))
    for tick in range(361):
        joules = 750 * 10 * tick
        gpus = [h100(number, energy=joules * 1000, power_limit_watts=800.0) for number in range(8)]
        meter.tick(10, gpus, [], allocate(CHAT, *range(8)))
    reported = [meter.dollars(component=name) / DOLLAR / 8 for name in ("amortization", "support", "energy")]
    return [*reported, meter.dollars() / DOLLAR / 8]


def annuity() -> list[float]:
    """8 H100 with adders and residual at 10 %, for 8766 hours of one of them."""
    hardware = owned(
        adders_ratio=Decimal("0.15"), residual_ratio=Decimal("0.10"), cost_of_capital_ratio=Decimal("0.10")
    )
    meter = CheckedMeter(cost_policy(hardware, gap_after=10_000 * HOUR))
    meter.tick(1, [h100()])
    meter.pass_by(8766 * HOUR, [h100()])
    return [8 * meter.dollars() / DOLLAR, meter.dollars() / DOLLAR / 8766]


def straight_line() -> list[float]:
    """The same machine without cost of capital, for an hour of one GPU."""
    meter = CheckedMeter(cost_policy(owned(adders_ratio=Decimal("0.15"), residual_ratio=Decimal("0.10"))))
    meter.tick(1, [h100()])
    meter.pass_by(HOUR, [h100()])
    return [meter.dollars() / DOLLAR]


def rented_month() -> list[float]:
    """One A100 at 3.67 dollars an hour for 730 hours."""
    meter = CheckedMeter(cost_policy(rent("3.67")))
    meter.tick(1, [h100()])
    for _ in range(365):
        meter.pass_by(2 * HOUR, [h100()])
    return [meter.dollars() / DOLLAR]


def tensor_parallel() -> list[float]:
    """8 GPUs at 2 dollars serve 40 million tokens in an hour, reported by one server."""
    meter = CheckedMeter(cost_policy(rent(16, 8)))
    gpus = [h100(number) for number in range(8)]
    for tick in range(61):
        served = page(prompt=1_000_000 * min(tick, 40), generation=0)
        meter.tick(60, gpus, [served], allocate(CHAT, *range(8)))
    dollars = meter.dollars(server="chat")
    tokens: dict[TokenKind, int] = {"prompt": meter.tokens["chat", "llama", "prompt"]}
    return [dollars / DOLLAR, per_million(money(meter), tokens, Weights())["all", "full"]]


def money(meter: CheckedMeter) -> dict[str, int]:
    """Money by phase."""
    phases: tuple[Phase, ...] = ("prefill", "decode", "other", "idle", "unobserved")
    return {phase: meter.dollars(phase=phase) for phase in phases}


def price_from() -> list[float]:
    """55.04 and then 41.28 dollars an hour for 8 GPUs, changing 4 s into a tick of 10 s; all 8 together."""
    change = START + SECOND + 4 * SECOND
    prices = (RentPrice(Decimal("55.04"), 8), RentPrice(Decimal("41.28"), 8, since=change))
    meter = CheckedMeter(cost_policy(Hardware(HardwareMatch(), Rented(prices), "x")))
    gpus = [h100(number) for number in range(8)]
    meter.tick(1, gpus)
    meter.tick(10, gpus)
    return [meter.dollars() / DOLLAR]


def downtime() -> list[float]:
    """A reboot 5 minutes ago, four hours after the last tick: rent by the hour, and a lease."""
    billings: tuple[Billing, Billing] = ("while_up", "always")
    actual = []
    for billing in billings:
        hardware = Hardware(HardwareMatch(), Rented((RentPrice(Decimal("3.60")),), billing), "x")
        gpus = (h100(0),)
        last = Frame(elapsed=9 * HOUR, wall=START, gpus=gpus, boot="one")
        back = Frame(elapsed=5 * MINUTE, wall=START + 4 * HOUR, gpus=gpus, boot="two")
        requested = CostPolicy(Tariff("host-1", (hardware,)))
        outcome = advance(advance(State(), last, requested).state, back, requested)
        actual.append(sum(segment.accrued for segment in outcome.postings.segments) / DOLLAR)
    return actual


def gpu_hours_owed() -> list[float]:
    """8 hours up, 16 off, and a tick 90 s after the boot: GPU-hours, dollars, and dollars over GPU-hours."""
    hardware = Hardware(HardwareMatch(), Rented((RentPrice(Decimal("6.88")),)), "x")
    requested = CostPolicy(Tariff("host-1", (hardware,)))
    frames = [
        Frame(elapsed=HOUR, wall=START, gpus=(h100(0),), boot="one"),
        Frame(elapsed=9 * HOUR, wall=START + 8 * HOUR, gpus=(h100(0),), boot="one"),
        Frame(elapsed=90 * SECOND, wall=START + 24 * HOUR + 90 * SECOND, gpus=(h100(0),), boot="two"),
    ]
    state, time, amount = State(), 0, 0
    for frame in frames:
        outcome = advance(state, frame, requested)
        state = outcome.state
        time += sum(
            allocated.chargeable for segment in outcome.postings.segments for allocated in segment.gpu_times
        )
        amount += sum(segment.accrued for segment in outcome.postings.segments)
    return [time / HOUR, amount / DOLLAR, amount / DOLLAR / (time / HOUR)]


def since_boot() -> list[float]:
    """Books that are the first of a boot 20 minutes ago: rent by the hour."""
    hardware = Hardware(HardwareMatch(), Rented((RentPrice(Decimal("3.60")),)), "x")
    first = Frame(elapsed=20 * MINUTE, wall=START, gpus=(h100(0),), boot="one")
    outcome = advance(State(fresh_in="one"), first, CostPolicy(Tariff("host-1", (hardware,))))
    return [sum(segment.accrued for segment in outcome.postings.segments) / DOLLAR]


def late_price() -> list[float]:
    """3 hours of 45 and 15 minutes without a price; then one from the second hour, then from 00:30."""
    gpu = Gpu("GPU-0", "NVIDIA H100")
    quarter = HOUR // 4
    one, other = (OwnerPhase(CostOwner("a", "a", "", server, ""), "decode") for server in ("one", "other"))
    used = {one: GpuUse(3 * quarter, 3 * quarter, 0), other: GpuUse(quarter, quarter, 0)}
    waiting = [
        UnpricedTime(gpu, "2026-11-10", START + hour * HOUR, START + (hour + 1) * HOUR, used, hour + 1)
        for hour in range(3)
    ]
    reported = []
    for since in (START + HOUR, START + HOUR // 2):
        hardware = Hardware(HardwareMatch(), Rented((RentPrice(Decimal("3.60"), since=since),)), "x")
        _, late = charge_late(State(), waiting, cost_policy(hardware), START + 1000 * HOUR)
        left = {unpriced.number: unpriced for unpriced in late.left}
        waiting = [left.get(unpriced.number, unpriced) for unpriced in waiting]
        entries = [entry for segment in late.segments for entry in segment.money]
        reported.append(sum(entry.amount for entry in entries) / DOLLAR)
        if len(reported) == 1:
            reported += [
                sum(entry.amount for entry in entries if entry.owner_phase == owner_phase) / DOLLAR
                for owner_phase in (one, other)
            ]
    return reported


def half_a_day() -> HistorySums:
    """12 hours of one GPU at 3.60 dollars."""
    gpu, posted = Gpu("GPU-0", "NVIDIA H100"), 432 * DOLLAR // 10
    cost = {(ServerOwner("chat", "a", "", "chat"), "rent", "configured"): posted}
    return HistorySums(
        server_cost=cost,
        gpu_cost={(gpu, "rent"): posted},
        gpu_held={gpu: 12 * HOUR},
        owner_held={GpuOwner(gpu, "chat", "a"): 12 * HOUR},
    )


@dataclass
class ExampleDay:
    """History of one day."""

    sums: HistorySums

    def days(self, _first: int, _last: int) -> dict[int, HistorySums]:
        return {20261110: self.sums}

    def hours(self, _first: int, _last: int) -> None:
        return None

    def adjustments(self, _first: int, _last: int) -> tuple[Adjustment, ...]:
        return ()


def reload_with_past_price() -> list[float]:
    """12 hours at 3.60 dollars that a reload says cost 2.88."""
    prices = [
        Rented((RentPrice(Decimal(hourly), since=START, since_text="x"),)) for hourly in ("3.60", "2.88")
    ]
    old, new = (Tariff("", (Hardware(HardwareMatch(), rented, "x"),)) for rented in prices)
    reported = repricing(old, new, ExampleDay(half_a_day()), ZoneInfo("UTC"), START + 12 * HOUR)
    assert reported is not None
    return [
        reported.posted / DOLLAR,
        reported.due / DOLLAR,
        sum(one.cents for one in reported.corrections) / 100,
    ]


def repriced_gpu() -> list[float]:
    """An hour of two GPUs, one chat's and one nobody's; the first is repriced."""
    gpus = Gpu("GPU-0", "H100"), Gpu("GPU-1", "H100")
    hour = 36 * DOLLAR // 10
    sums = HistorySums(
        gpu_cost={(gpu, "rent"): hour for gpu in gpus},
        server_cost={
            (ServerOwner(name, name, "", name), "rent", "configured"): hour for name in ("chat", "unassigned")
        },
        gpu_held=dict.fromkeys(gpus, HOUR),
        owner_held={GpuOwner(gpus[0], "chat", "chat"): HOUR, GpuOwner(gpus[1], "unassigned", "x"): HOUR},
    )
    first, all_ = (
        Hardware(
            HardwareMatch(uuid=uuid), Rented((RentPrice(Decimal(price), since=START, since_text="x"),)), "x"
        )
        for uuid, price in (("GPU-0", "2.88"), ("GPU-1", "3.60"))
    )
    reported = repricing(
        None, Tariff("", (first, all_)), ExampleDay(sums), ZoneInfo("UTC"), START + 12 * HOUR
    )
    assert reported is not None
    cents = {one.product: one.cents for one in reported.corrections}
    return [cents.get(name, 0) / 100 for name in ("chat", "unassigned")]


def month_rates() -> list[float]:
    """9.20 dollars a month, by the hour: February, March in Berlin, a leap February."""
    reported = []
    for zone, start in (
        ("UTC", "2026-02-10T00:00:00+00:00"),
        ("Europe/Berlin", "2026-03-10T00:00:00+01:00"),
        ("UTC", "2028-02-10T00:00:00+00:00"),
    ):
        storage = overhead("storage", "9.20", "month", "gpu")
        meter = CheckedMeter(cost_policy(overheads=(storage,), zone=ZoneInfo(zone)), moment(start))
        meter.tick(1, [h100()])
        meter.pass_by(HOUR, [h100()])
        reported.append(meter.dollars() / DOLLAR)
    return reported


def host_overhead() -> list[float]:
    """1.10 dollars an hour over 8 GPUs."""
    meter = CheckedMeter(cost_policy(overheads=(overhead("network", "1.10", "hour", "host"),)))
    gpus = [h100(number) for number in range(8)]
    meter.tick(1, gpus)
    meter.pass_by(HOUR, gpus)
    return [meter.dollars(uuid="GPU-3") / DOLLAR, meter.dollars() / DOLLAR]


def phases(servers: list[dict[str, float]], running: float = 1.0) -> list[float]:
    """Prefill's part of a busy tick."""
    meter = CheckedMeter(cost_policy(rent(3600)))
    for reported in servers:
        meter.tick(10, [h100()], [page(running=running, **reported)], allocate(CHAT, 0))
    busy = meter.dollars(phase="prefill") + meter.dollars(phase="decode")
    return [meter.dollars(phase="prefill") / busy]


def phase_by_time() -> list[float]:
    """20 s of prefill and 320 s of decoding in a batch of 16."""
    quiet = {"prefill_seconds": 0.0, "decode_request_seconds": 0.0, "generation": 0.0}
    return phases(
        [quiet, {"prefill_seconds": 20.0, "decode_request_seconds": 320.0, "generation": 9.0}], 16.0
    )


def phase_by_engine() -> list[float]:
    """3 s of prefill and 9 s of decode, the engine's own, in a batch of 16."""
    quiet = {"prefill_seconds": 0.0, "decode_seconds": 0.0, "generation": 0.0}
    return phases([quiet, {"prefill_seconds": 3.0, "decode_seconds": 9.0, "generation": 9.0}], 16.0)


def phase_by_weights() -> list[float]:
    """600 computed, 1000 cached, 100 generated."""
    quiet = {"prompt": 0.0, "cached_prompt": 0.0, "generation": 0.0}
    return phases([quiet, {"prompt": 600.0, "cached_prompt": 1000.0, "generation": 100.0}])


def idle_joules() -> list[float]:
    """A GPU that idles at 100 W, then uses 4 kJ in 10 s at half busy; at 0.5 dollars a kilojoule: in kJ."""
    meter = CheckedMeter(cost_policy(rent(0, energy=Electricity(Decimal(1800)))))
    for joules, busy, generated in ((0, 0.0, 0), (1000, 0.0, 0), (5000, 0.5, 10)):
        gpu = h100(utilization_ratio=busy, energy=joules * 1000, power_limit_watts=700.0)
        meter.tick(10, [gpu], [page(generation=generated)], allocate(CHAT, 0))
    idle = meter.dollars(phase="idle") / DOLLAR * 2 - 1  # the first kilojoule was all idle
    return [idle, meter.dollars(phase="decode") / DOLLAR * 2]


def per_kind() -> list[float]:
    """12 dollars, 2 of them prefill and 6 decode, over 1.5, 5 and 0.5 million tokens."""
    spent = {"prefill": 2 * DOLLAR, "decode": 6 * DOLLAR, "idle": 4 * DOLLAR}
    tokens: dict[TokenKind, int] = {"prompt": 1_500_000, "cached_prompt": 5_000_000, "generation": 500_000}
    actual = per_million(spent, tokens, Weights())
    reported = [actual["all", "full"], actual["computed", "full"]]
    reported += [actual[kind, "busy"] for kind in tokens]
    full = [actual[kind, "full"] for kind in tokens]
    return [
        *reported,
        *full,
        sum(price * tokens[kind] / 1e6 for kind, price in zip(tokens, full, strict=True)),
    ]


def restart() -> list[float]:
    """Two replicas, one of which starts again."""
    meter = CheckedMeter(cost_policy(rent(1)))
    for a, b, process in ((1_000_000, 900_000, "1"), (1_100_000, 50_000, "2")):
        one = page(url="http://a", generation=a)
        other = replace(page(url="http://b", generation=b), identity=process, started=meter.wall)
        meter.tick(10, [], [one, other])
    return [meter.tokens["chat", "llama", "generation"]]


CHAT_OWNS: Final = (OwnershipRule("chat", "assistants", server="chat"),)


def _projected(meter: CheckedMeter, to_date: int, *, up: int = 24, since: int = 24) -> list[float]:
    """A GPU that `chat` has held for some of the last 24 hours, of which the host was up for some."""
    outcome = meter.tick(10, [h100()], [], allocate(CHAT, 0))
    now = meter.wall // HOUR * HOUR
    hours = tuple(
        UsageHour(
            now - ago * HOUR,
            HOUR,
            HOUR if ago > up else 0,
            {h100().gpu: {"chat" if ago <= since else UNASSIGNED: HOUR}},
        )
        for ago in range(24, 0, -1)
    )
    usage = RecentUsage(hours, {"chat": now - since * HOUR})
    actual = project(outcome.gpus, usage, {"chat": to_date}, now, meter.policy)
    assert actual is not None
    return [actual.totals()["chat"] / DOLLAR]


def projection() -> list[float]:
    """24 hours at 55.04 so far and 12 more, then 360 at 10."""
    begins = moment("2026-11-16T00:00:00+00:00")
    prices = (RentPrice(Decimal("55.04")), RentPrice(Decimal(10), 1, begins))
    by = cost_policy(Hardware(HardwareMatch(), Rented(prices), "hardware[0]"), ownership=CHAT_OWNS)
    meter = CheckedMeter(by, wall=begins - 12 * HOUR)
    return _projected(meter, 24 * 5504 * DOLLAR // 100)


def projection_of_a_new_product() -> list[float]:
    """10 dollars in its first hour, 467 hours left, and nobody on its GPU before."""
    meter = CheckedMeter(cost_policy(rent(10), ownership=CHAT_OWNS), wall=moment("2026-11-11T13:00:00+00:00"))
    return _projected(meter, 10 * DOLLAR, since=1)


def projection_of_a_part_of_the_day() -> list[float]:
    """Up for 8 hours of 24, 384 hours left at 6 dollars; nothing in the month so far."""
    meter = CheckedMeter(cost_policy(rent(6), ownership=CHAT_OWNS), wall=moment("2026-11-15T00:00:00+00:00"))
    return _projected(meter, 0, up=8)


def hosted() -> list[float]:
    """3, 1 and 0.2 million tokens at 0.50, 0.05 and 2.00 dollars a million."""
    offer = HostedPrice("turbo", Decimal("0.50"), Decimal(2), cached_prompt=Decimal("0.05"))
    meter = CheckedMeter(cost_policy(rent(1), compare=(offer,)))
    meter.tick(10, [h100()], [page(prompt=0, cached_prompt=0, generation=0)], allocate(CHAT, 0))
    moved = page(prompt=3_000_000, cached_prompt=1_000_000, generation=200_000)
    outcome = meter.tick(10, [h100()], [moved], allocate(CHAT, 0))
    return [sum(reported.amount for reported in outcome.postings.equivalents) / DOLLAR]


def load_of_a_server() -> list[float]:
    """16 of 64 requests run, for 10 dollars an hour and 5 million tokens."""
    owner = CostOwner("chat", "chat", CHAT.namespace, CHAT.server, "llama")
    ratio = load_ratio(LoadReading("llama", running=16, max_running=64))
    assert ratio is not None
    loads = {(CHAT, "llama"): ratio}
    free, used = headroom({owner: 8.0}, loads)[owner], load_rates({owner: 10.0}, loads)[owner]
    tokens: dict[TokenKind, int] = {"generation": 5_000_000}
    prices = [
        per_million({"decode": round(spend * DOLLAR)}, tokens, Weights())["all", "full"]
        for spend in (10.0, used)
    ]
    return [free, used, *prices]


EXAMPLES: Final[dict[str, Callable[[], list[float] | list[Fraction]]]] = {
    MACHINE: owned_machine,
    "straight-line": straight_line,
    "annuity": annuity,
    "rented-month": rented_month,
    "price-from": price_from,
    "downtime": downtime,
    "gpu-hours-owed": gpu_hours_owed,
    "since-boot": since_boot,
    "late-price": late_price,
    "reload-with-past-price": reload_with_past_price,
    "repriced-gpu": repriced_gpu,
    "month-rates": month_rates,
    "host-overhead": host_overhead,
    "idle-joules": idle_joules,
    "tensor-parallel": tensor_parallel,
    "phase-by-engine": phase_by_engine,
    "phase-by-time": phase_by_time,
    "phase-by-weights": phase_by_weights,
    "per-kind": per_kind,
    "restart": restart,
    "projection": projection,
    "projection-new-product": projection_of_a_new_product,
    "projection-part-of-the-day": projection_of_a_part_of_the_day,
    "load": load_of_a_server,
    "hosted": hosted,
    **LEVEL_EXAMPLES,
    **SHARING_EXAMPLES,
    **DIVISION_EXAMPLES,
    **TCO_EXAMPLES,
}
"""By the name that the page gives them."""
