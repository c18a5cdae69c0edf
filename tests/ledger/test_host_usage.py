"""Usage of a host from its ledger: whole hours, present holders, and prices with their terms."""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from exporter.advice.hours import HostUsage, PricedGpu
from exporter.cost.page_marks import PageMarks
from exporter.cost.postings import GpuTimePosting, MoneyPosting, OwnerPhase
from exporter.cost.state import EndpointState, GpuState, ServerState, State
from exporter.ledger.errors import LedgerError
from exporter.ledger.host_usage import HourReader, host_usage
from exporter.ledger.ledger import Ledger
from exporter.ledger.reader import LedgerReader
from exporter.readings import Gpu, Holder
from exporter.tariff.hosted import HostedPrice
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Hardware, HardwareMatch, Listed, Owned, Rented, RentPrice
from tests.kit.clock import clock_at
from tests.kit.units import DOLLAR, HOUR, MINUTE, NOVEMBER
from tests.ledger.ticks import CHAT, GPU_0, GPU_1, SEARCH, UNALLOCATED_OWNER, money, tick, tokens

FIRST = NOVEMBER // HOUR
NOW = NOVEMBER + 2 * HOUR + 10 * MINUTE


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[LedgerReader]:
    """Two hours of chat on one of two GPUs: 3 dollars of rent, then 4 with 1 dollar of storage."""
    clock = clock_at()
    running = Ledger.open(tmp_path / "ledger.db", clock)
    accrued = 0
    gpus = {
        "GPU-0": GpuState(GPU_0, 0, holders=(Holder(CHAT.key, "GPU-0"),)),
        "GPU-1": GpuState(GPU_1, 1),
        "GPU-2": GpuState(GPU_1._replace(uuid="GPU-2"), 2, up=False),
    }
    for number, rent in ((1, 3), (2, 4)):
        entries = [money(rent * DOLLAR), *([money(DOLLAR, component="storage")] if number == 2 else [])]
        end = NOVEMBER + number * HOUR
        times = (GpuTimePosting(GPU_0, OwnerPhase(CHAT, "decode"), HOUR, chargeable=HOUR),)
        posted = tick(end, *entries, length=HOUR, gpu_time=times, tokens=(tokens(number),))
        accrued += sum(entry.amount for entry in entries)
        clock.now = end
        state = State(wall=end, accrued=accrued, gpus=gpus, servers={CHAT.key: ServerState(partial=True)})
        running.post(posted, state)
    running.close()
    with LedgerReader.open(tmp_path / "ledger.db") as reader:
        yield reader


def usage(
    ledger: LedgerReader, tariff: Tariff | None = None, *, now: int = NOW, hours: int = 336
) -> HostUsage:
    return host_usage(ledger, "node-1", now, hours, tariff)


def test_whole_hours_since_the_first(ledger: LedgerReader) -> None:
    """The ledger began two hours ago; the running hour is not judged."""
    host = usage(ledger)

    assert (host.name, host.first, host.last, host.length) == ("node-1", FIRST, FIRST + 1, 2)
    assert host.hours[FIRST].gpu_time == {OwnerPhase(CHAT, "decode"): HOUR}
    assert host.hours[FIRST + 1].tokens == {(CHAT, "generation"): 2}
    assert host.partial == {CHAT.key}
    assert host.reported


@pytest.mark.parametrize(
    ("endpoint", "unread"),
    [
        (None, True),
        (EndpointState(CHAT.key, 0), True),
        (EndpointState(CHAT.key, 0, PageMarks(read=True, answered=NOW - HOUR)), False),
        (EndpointState(CHAT.key, 0, PageMarks(read=True, answered=NOW - HOUR - 1)), True),
        (EndpointState(SEARCH.key, 0, PageMarks(read=True, answered=NOW)), True),
    ],
    ids=["none", "never-answered", "answered", "an-hour-ago", "of-another-server"],
)
def test_servers_whose_page_does_not_answer(
    tmp_path: Path, endpoint: EndpointState | None, *, unread: bool
) -> None:
    """Nothing of them was read for an hour: a holder without an endpoint, or one that is silent."""
    gpus = {"GPU-0": GpuState(GPU_0, 0, holders=(Holder(CHAT.key, "GPU-0"),))}
    endpoints = {} if endpoint is None else {"http://chat": endpoint}
    running = Ledger.open(tmp_path / "ledger.db", clock_at(NOW))
    running.post(tick(NOW, length=MINUTE), State(wall=NOW, gpus=gpus, endpoints=endpoints))
    running.close()

    with LedgerReader.open(tmp_path / "ledger.db") as reader:
        assert usage(reader).unread == ({CHAT.key} if unread else set())


def test_gpus_that_are_paid_for_and_not_shown(tmp_path: Path) -> None:
    """A lost one that nobody held and two that NVML never listed; one that is held is its server's."""
    gpus = {
        "GPU-0": GpuState(GPU_0, 0),
        "GPU-1": GpuState(GPU_1, 1, up=False),
        "GPU-2": GpuState(GPU_1._replace(uuid="GPU-2"), 2, up=False, holders=(Holder(CHAT.key, "GPU-2"),)),
    }
    unseen = {GPU_1.gpu_model: GpuState(Gpu("unseen", GPU_1.gpu_model), -1, up=False, count=2)}
    running = Ledger.open(tmp_path / "ledger.db", clock_at(NOW))
    running.post(tick(NOW, length=MINUTE), State(wall=NOW, gpus=gpus, unseen=unseen))
    running.close()

    with LedgerReader.open(tmp_path / "ledger.db") as reader:
        assert usage(reader).absent == 3


def test_servers_that_serve_now(ledger: LedgerReader) -> None:
    """Those with tokens in the running hour, which is of no window."""
    running = usage(ledger, now=NOVEMBER + 2 * HOUR - 1)

    assert (running.last, sorted(running.hours), running.serving) == (FIRST, [FIRST], {CHAT.key})
    assert usage(ledger).serving == set()


def test_a_shorter_window(ledger: LedgerReader) -> None:
    """One hour of two."""
    host = usage(ledger, hours=1)

    assert (host.first, host.length, sorted(host.hours)) == (FIRST + 1, 1, [FIRST + 1])


def test_the_last_tick_is_an_hour_old(ledger: LedgerReader) -> None:
    """An hour after it the host is silent."""
    assert usage(ledger, now=NOVEMBER + 3 * HOUR).reported
    assert not usage(ledger, now=NOVEMBER + 3 * HOUR + 1).reported


def test_a_window_after_the_last_tick(ledger: LedgerReader) -> None:
    """Without an hour of history nothing is there to judge."""
    host = usage(ledger, now=NOVEMBER + 900 * HOUR)

    assert (host.hours, host.length) == ({}, 0)


def test_prices_of_the_last_paid_hour(ledger: LedgerReader) -> None:
    """4 dollars of rent, without the storage; a GPU that never cost anything has no price."""
    assert usage(ledger).gpus == (
        PricedGpu(GPU_0, frozenset({CHAT.key}), 4 * DOLLAR, "unknown", "configured"),
        PricedGpu(GPU_1, frozenset(), None, "unknown"),
    )


def test_a_price_that_was_lost_since(tmp_path: Path) -> None:
    """The hour after the paid one waits for a price: the earlier one does not stand for it."""
    gpus = {"GPU-0": GpuState(GPU_0, 0, holders=(Holder(CHAT.key, "GPU-0"),))}
    decode = OwnerPhase(CHAT, "decode")
    paid = GpuTimePosting(GPU_0, decode, HOUR, chargeable=HOUR)
    waits = GpuTimePosting(GPU_0, decode, HOUR, unpriced=True, chargeable=0)
    clock = clock_at()
    running = Ledger.open(tmp_path / "ledger.db", clock)
    for number, entries, time in ((1, [money(3 * DOLLAR)], paid), (2, [], waits)):
        clock.now = NOVEMBER + number * HOUR
        state = State(wall=clock.now, accrued=3 * DOLLAR, gpus=gpus)
        running.post(tick(clock.now, *entries, length=HOUR, gpu_time=(time,)), state)
    running.close()

    with LedgerReader.open(tmp_path / "ledger.db") as reader:
        (gpu,) = usage(reader).gpus

    assert (gpu.per_hour, gpu.release) == (None, "unknown")


def posted_gpus(tmp_path: Path, *hours: tuple[MoneyPosting, ...]) -> tuple[PricedGpu, ...]:
    """The GPUs of a ledger of such hours, at its own prices: chat holds the first of two."""
    gpus = {
        "GPU-0": GpuState(GPU_0, 0, holders=(Holder(CHAT.key, "GPU-0"),)),
        "GPU-1": GpuState(GPU_1, 1),
    }
    owners = {GPU_0: OwnerPhase(CHAT, "decode"), GPU_1: OwnerPhase(UNALLOCATED_OWNER, "idle")}
    times = tuple(GpuTimePosting(gpu, owner, HOUR, chargeable=HOUR) for gpu, owner in owners.items())
    clock = clock_at()
    running = Ledger.open(tmp_path / "ledger.db", clock)
    accrued = 0
    for number, entries in enumerate(hours, 1):
        clock.now = NOVEMBER + number * HOUR
        accrued += sum(entry.amount for entry in entries)
        state = State(wall=clock.now, accrued=accrued, gpus=gpus)
        running.post(tick(clock.now, *entries, length=HOUR, gpu_time=times), state)
    running.close()
    with LedgerReader.open(tmp_path / "ledger.db") as reader:
        return usage(reader).gpus


def test_an_estimate_of_the_last_paid_hour_is_one(tmp_path: Path) -> None:
    """Chat's GPU at an estimate, and the free one at a configured price."""
    estimated = money(3 * DOLLAR)._replace(price_basis="estimate")
    gpus = posted_gpus(tmp_path, (estimated, money(2 * DOLLAR, UNALLOCATED_OWNER, "idle", GPU_1)))

    assert [(gpu.per_hour, gpu.price_basis) for gpu in gpus] == [
        (3 * DOLLAR, "estimate"),
        (2 * DOLLAR, "configured"),
    ]


def test_a_basis_that_is_not_of_one_gpu_is_unknown(tmp_path: Path) -> None:
    """Chat paid for two GPUs, one of them at an estimate: which one is not in the ledger."""
    estimated = money(3 * DOLLAR)._replace(price_basis="estimate")
    gpus = posted_gpus(tmp_path, (estimated, money(2 * DOLLAR, gpu=GPU_1)))

    assert [gpu.price_basis for gpu in gpus] == [None, None]


def test_hardware_that_is_written_off_costs_nothing_now(tmp_path: Path) -> None:
    """An hour of depreciation, and one of none: it is owed, and 0, so that the earlier price is over."""
    written_off = money(3 * DOLLAR, component="amortization")
    gpus = posted_gpus(tmp_path, (written_off,), (money(DOLLAR, UNALLOCATED_OWNER, "idle", GPU_1),))

    assert [gpu.per_hour for gpu in gpus] == [0, DOLLAR]


def rent(*prices: RentPrice, always: bool = False) -> Rented:
    return Rented(prices, "always" if always else "while_up")


OWNED = Owned(Decimal(8766), 1, 0, "1970", Decimal(1000))
"""8766 dollars in 1000 years of 8766 hours: a tenth of a cent an hour."""


@pytest.mark.parametrize(
    ("pricing", "price", "release"),
    [
        (rent(RentPrice(Decimal(5))), 5 * DOLLAR, "gpu"),
        (rent(RentPrice(Decimal(5)), always=True), 5 * DOLLAR, "lease"),
        (rent(RentPrice(Decimal(40), gpus=8)), 5 * DOLLAR, "host"),
        (rent(RentPrice(Decimal(9)), RentPrice(Decimal(40), 8, NOW + 1)), 9 * DOLLAR, "gpu"),
        (OWNED, DOLLAR // 1000, "owned"),
        (Listed("aws", "p5.48xlarge", "us-east-1"), 6_880_000_000_000, "host"),
    ],
    ids=["gpu", "lease", "host", "before-a-change", "owned", "listed"],
)
def test_prices_of_the_configuration(
    ledger: LedgerReader, pricing: Rented | Owned | Listed, price: int, release: str
) -> None:
    """The price of now, and the unit that can be given back."""
    tariff = Tariff("", (Hardware(HardwareMatch(), pricing, "hardware[0]"),))

    host = usage(ledger, tariff)

    basis = "catalogue" if isinstance(pricing, Listed) else "configured"
    assert [gpu[1:] for gpu in host.gpus] == [
        (frozenset({CHAT.key}), price, release, basis, None, False),
        (frozenset(), price, release, basis, None, False),
    ]


@pytest.mark.parametrize(
    ("pricing", "release"),
    [
        (rent(RentPrice(Decimal(5))), "gpu"),
        (rent(RentPrice(Decimal(40), gpus=8)), "host"),
        (rent(RentPrice(Decimal(5)), always=True), "lease"),
        (rent(RentPrice(Decimal(5), since=NOW + 1)), "unknown"),
        (OWNED, "unknown"),
        (Listed("aws", "p5.48xlarge", "us-east-1"), "unknown"),
    ],
    ids=["gpu", "host", "lease", "later", "owned", "listed"],
)
def test_terms_of_a_rule_at_the_price_of_the_ledger(
    ledger: LedgerReader, pricing: Rented | Owned | Listed, release: str
) -> None:
    """The ledger's 4 dollars stay; only a rent that is owed now says what can be given back."""
    rules = Tariff("", (Hardware(HardwareMatch(), pricing, "hardware[0]"),))

    host = host_usage(ledger, "node-1", NOW, 336, release_rules=rules)

    assert [(gpu.per_hour, gpu.release) for gpu in host.gpus] == [(4 * DOLLAR, release), (None, "unknown")]


def test_a_gpu_without_a_price(ledger: LedgerReader) -> None:
    """No rule: no price, and no terms."""
    assert [gpu.per_hour for gpu in usage(ledger, Tariff()).gpus] == [None, None]


def test_an_estimate(ledger: LedgerReader) -> None:
    """Without a rule the estimate of the catalogue is the price of now, and is called one."""
    host = usage(ledger, replace(Tariff(), unmatched="estimate"))

    assert all(gpu.per_hour for gpu in host.gpus)
    assert {gpu.price_basis for gpu in host.gpus} == {"estimate"}


OFFER = HostedPrice("offer", Decimal(1), Decimal(2), model="*llama*")
"""It covers chat's model."""


@pytest.mark.parametrize(
    ("offers", "model"), [((), ""), ((OFFER,), "llama-8b"), ((replace(OFFER, model="q*"),), "")]
)
def test_a_daemon_reads_models_that_an_offer_covers(
    ledger: LedgerReader, tmp_path: Path, offers: tuple[HostedPrice, ...], model: str
) -> None:
    """Everything else as a verb reads it, with the state that the daemon has."""
    state = ledger.state()
    with HourReader.of_daemon(tmp_path / "ledger.db", state, offers) as reader:
        read = host_usage(reader, "node-1", NOW, 336, Tariff())

    whole = usage(ledger, Tariff())
    assert replace(read, hours={}) == replace(whole, hours={})
    assert read.hours[FIRST].gpu_time == {OwnerPhase(CHAT._replace(model=""), "decode"): HOUR}
    assert read.hours[FIRST + 1].tokens == {(CHAT._replace(model=model), "generation"): 2}


def test_models_of_a_server_are_added_up(tmp_path: Path) -> None:
    """Two models of 20 and 40 minutes and 3 and 4 tokens are one hour and 7 tokens of their server."""
    other = CHAT._replace(model="qwen-7b")
    clock = clock_at(NOVEMBER + HOUR)
    running = Ledger.open(tmp_path / "ledger.db", clock)
    times = tuple(
        GpuTimePosting(GPU_0, OwnerPhase(owner, "idle"), minutes * MINUTE, chargeable=minutes * MINUTE)
        for owner, minutes in ((CHAT, 20), (other, 40))
    )
    state = State(wall=clock.now)
    running.post(tick(clock.now, length=HOUR, gpu_time=times, tokens=(tokens(3), tokens(4, other))), state)
    running.close()

    with HourReader.of_daemon(tmp_path / "ledger.db", state, ()) as reader:
        hour = host_usage(reader, "", NOW, 336, Tariff()).hours[FIRST]

    assert hour.gpu_time == {OwnerPhase(CHAT._replace(model=""), "idle"): HOUR}
    assert hour.tokens == {(CHAT._replace(model=""), "generation"): 7}


def test_a_daemon_without_a_file(tmp_path: Path) -> None:
    """It says where the ledger should be."""
    with pytest.raises(LedgerError, match=r"none\.db: there is no ledger here"):
        HourReader.of_daemon(tmp_path / "none.db", State(), ())
