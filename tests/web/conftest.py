"""One host told by hand: two servers, three GPUs of which one is lost, and a previous month."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from exporter.advice.saving import Saving
from exporter.clock import Clock
from exporter.cost.postings import PHASES, CostOwner, OwnerPhase
from exporter.cost.projection import PricePeriod, Projection
from exporter.cost.service_level import ShareBounds
from exporter.cost.state import GpuState, State
from exporter.metrics.exposition import TEXT, Exposition, Variant
from exporter.readings import (
    FailureReason,
    Gpu,
    GpuReading,
    Holder,
    LoadReading,
    Occupancy,
    ServerKey,
    ServerReading,
    ServiceLevel,
    UnreadServer,
)
from exporter.report import (
    BudgetRow,
    Build,
    CommittedTotals,
    ComponentPrice,
    ConfigRow,
    GpuRow,
    HostSavings,
    Hour,
    LoadRow,
    MetCostRow,
    MetRow,
    MonthKey,
    OwnerLatency,
    Quotient,
    RecentHistory,
    Report,
    ServerComponent,
    ServerOwner,
    ShareRow,
    SourceRow,
    SplitRow,
    TickBasis,
    Window,
)
from exporter.tariff.calendar import Month
from exporter.tariff.hosted import HostedPrice
from exporter.tariff.rate import Provenance
from exporter.web.access import Access
from exporter.web.limits import WebLimits
from exporter.web.server import WebServer
from tests.cost.readings import cost_policy, rent
from tests.kit.clock import ManualClock
from tests.kit.units import DECEMBER, DOLLAR, HOUR, NOVEMBER, SECOND
from tests.standard_process import standard_process
from tests.web.certificates import request

NOON = 1_795_521_600 * SECOND  # 2026-11-24T12:00:00Z
JULY = 1_785_369_600 * SECOND  # 2026-07-30T00:00:00Z

A = Gpu("GPU-aaaa", "NVIDIA H100 80GB HBM3")
B = Gpu("GPU-bbbb", "NVIDIA H100 80GB HBM3")
LOST = Gpu("GPU-cccc", "NVIDIA H100 80GB HBM3")

CHAT = CostOwner("search", "retrieval", "ml", "chat", "llama-70b")
BATCH = CostOwner("unassigned", "unassigned", "", "batch", "qwen-7b")
UNALLOCATED_OWNER = CostOwner("unassigned", "unassigned", "", "unallocated", "")


@dataclass
class RunningServer:
    """A running server, and what it is handed."""

    clock: Clock
    report: Report | None
    reload_error: Exception | None = None
    reloads: int = 0
    reload_notice: str = ""
    server: WebServer = field(init=False)

    def connect(self) -> socket.socket:
        """A client's socket."""
        return socket.create_connection(("127.0.0.1", self.server.port), timeout=10)

    def say(self, sent: bytes) -> bytes:
        """Everything that is answered to some bytes, until the server closes."""
        with self.connect() as client:
            client.sendall(sent)
            return b"".join(iter(lambda: client.recv(65536), b""))

    def request(self, method: str, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers in lower case, and body of one request."""
        return request(self.server.port, None, path, method, **headers)

    def reload(self) -> str:
        """What the server calls to reload."""
        self.reloads += 1
        if self.reload_error is not None:
            raise self.reload_error
        return self.reload_notice


def history() -> RecentHistory:
    """A day of 8.50 an hour, half of it idle from midnight on, and a month of whole hours at 16 dollars.

    The running hour has not begun to cost, and the month holds 8 dollars less than its cells: adjustments.
    """
    hours = tuple(
        Hour(
            NOON + (number - 24) * HOUR,
            {"decode": 8 * DOLLAR + DOLLAR // 2}
            if number < 12
            else {
                "prefill": DOLLAR,
                "decode": 3 * DOLLAR,
                "other": DOLLAR // 4,
                "idle": 4 * DOLLAR + DOLLAR // 4,
            },
            HOUR,
        )
        for number in range(24)
    )
    chat = ServerKey("ml", "chat")
    return RecentHistory(
        hours=(*hours, Hour(NOON)),
        tokens={(CHAT, "prompt"): 12_345_678, (CHAT, "generation"): 654_321, (BATCH, "prompt"): 9_999},
        components={"rent": 200 * DOLLAR, "storage": 4 * DOLLAR},
        mix={(chat, "rent"): 3 * DOLLAR, (chat, "storage"): DOLLAR},
        before=(16 * DOLLAR,) * (23 * 24 + 12),
    )


def tick_basis() -> TickBasis:
    """What explanations go by: two cards of chat's, of which it holds one and three quarters."""
    chat, batch = ServerKey("ml", "chat"), ServerKey("", "batch")
    shared = (Holder(chat, B.uuid, 0.75), Holder(batch, B.uuid, 0.25))
    cards = {A.uuid: GpuState(A, 0, holders=(Holder(chat, A.uuid),)), B.uuid: GpuState(B, 1, holders=shared)}
    return TickBasis(cost_policy(rent("4.00")), State(gpus=cards))


NOTHING = {OwnerPhase(owner, phase): 0 for owner in (CHAT, BATCH, UNALLOCATED_OWNER) for phase in PHASES}
"""Phases as a ledger serves them: all of each owner, at 0 without a posting."""


def committed_totals() -> CommittedTotals:
    return CommittedTotals(
        ledger="0190a1b2",
        persistent=True,
        writable=True,
        last_commit=NOON - SECOND // 2,
        begun=NOVEMBER,
        residual=0,
        uncharged=259_200 * 10**9,
        cost={
            **NOTHING,
            OwnerPhase(CHAT, "prefill"): 2 * DOLLAR,
            OwnerPhase(CHAT, "decode"): 6 * DOLLAR + DOLLAR // 4,
            OwnerPhase(CHAT, "idle"): DOLLAR,
            OwnerPhase(UNALLOCATED_OWNER, "idle"): 3 * DOLLAR,
        },
        gpu_time={
            **NOTHING,
            OwnerPhase(CHAT, "prefill"): 1800 * SECOND,
            OwnerPhase(CHAT, "decode"): 5400 * SECOND,
            OwnerPhase(CHAT, "idle"): 900 * SECOND,
            OwnerPhase(BATCH, "unobserved"): SECOND // 2,
            OwnerPhase(UNALLOCATED_OWNER, "idle"): 2700 * SECOND,
        },
        server_cost={
            ServerComponent(ServerOwner("search", "retrieval", "ml", "chat"), "rent"): 9 * DOLLAR,
            ServerComponent(ServerOwner("search", "retrieval", "ml", "chat"), "storage"): DOLLAR // 4,
            ServerComponent(ServerOwner("unassigned", "unassigned", "", "unallocated"), "rent"): 3 * DOLLAR,
        },
        gpu_cost={
            (A, "rent"): 9 * DOLLAR,
            (A, "storage"): DOLLAR // 4,
            (B, "rent"): 3 * DOLLAR,
        },
        tokens={
            (CHAT, "prompt"): 1_200_000,
            (CHAT, "cached_prompt"): 300_000,
            (CHAT, "generation"): 450_000,
            (BATCH, "prompt"): 0,
        },
        requests={CHAT: 1024},
        preemptions={CHAT: 7},
        latencies={
            OwnerLatency(CHAT, "first_token", "requests", "lower"): 600,
            OwnerLatency(CHAT, "first_token", "requests", "upper"): 750,
            OwnerLatency(CHAT, "first_token", "requests", "total"): 800,
            OwnerLatency(CHAT, "per_token", "tokens", "lower"): 250_000,
            OwnerLatency(CHAT, "per_token", "tokens", "upper"): 250_000,
            OwnerLatency(CHAT, "per_token", "tokens", "total"): 250_000,
        },
        equivalents={
            (CHAT, "together-turbo"): 2 * DOLLAR + DOLLAR // 4,
            (BATCH, "together-turbo"): 0,
            (CHAT, "no longer configured"): DOLLAR,
        },
        energy={A: 5_400_000_500, B: 900_000_000},
        unpriced={LOST: 60 * SECOND},
        replaced=5,
        last_token={CHAT: NOON - 10 * SECOND},
        window={
            CHAT: Window(
                {"prefill": DOLLAR, "decode": 4 * DOLLAR, "idle": 5 * DOLLAR},
                {"prompt": 500_000, "cached_prompt": 1_500_000, "generation": 250_000},
            ),
            UNALLOCATED_OWNER: Window({"idle": 4 * DOLLAR + DOLLAR // 4}),
        },
        history=history(),
        months={
            MonthKey("search", "retrieval", "configured", "2026-11"): 9000 * DOLLAR,
            MonthKey("search", "retrieval", "configured", "2026-10"): 12000 * DOLLAR,
            MonthKey("unassigned", "unassigned", "estimate", "2026-11"): DOLLAR // 2,
        },
    )


def savings() -> HostSavings:
    """An unallocated GPU in cash, and a server that served nothing for two days on another's GPU."""
    unallocated = Saving(
        kind="unallocated",
        host="",
        server=UNALLOCATED_OWNER.key,
        claimed=336 * HOUR,
        amount=1680 * DOLLAR,
        gpus=1,
        gpu_models=(A.gpu_model,),
        window_hours=336,
        per_month=3650 * DOLLAR,
    )
    deserted = replace(
        unallocated,
        kind="deserted",
        server=BATCH.key,
        claimed=12 * HOUR,
        amount=48 * DOLLAR,
        per_month=730 * DOLLAR + DOLLAR // 2,
        obstacle="shared",
        window_hours=48,
        silent_hours=48,
        price_basis="estimate",
    )
    return HostSavings(NOON, 336, (unallocated, deserted))


def report() -> Report:
    rented = Provenance("configured", "config.yaml:12", "2026-01-01")
    guessed = Provenance("estimate", "market price of H100", "2026-11-01")
    endpoint = ServerReading(ServerKey("ml", "chat"), "http://10.0.0.1:8000/metrics", up=True)
    return Report(
        elapsed=1000 * SECOND,
        wall=NOON,
        interval=10 * SECOND,
        build=Build("0.1.0", "9e3d667", "3.11.7"),
        config=ConfigRow(
            "5f2a",
            last_reload_success=True,
            last_reload=NOON - 3600 * SECOND,
            web_last_reload_success=True,
        ),
        totals=committed_totals(),
        process=standard_process(memory_bytes=41_943_040, cpu_seconds=12.5, started=1_795_514_400),
        rates={CHAT: 8.5, BATCH: 0.0, UNALLOCATED_OWNER: 4.25},
        prices=(
            ComponentPrice(A, "rent", 4.0, rented),
            ComponentPrice(A, "storage", 0.25, rented),
            ComponentPrice(B, "rent", 4.25, guessed),
        ),
        quotients=(
            Quotient(CHAT, "all", "full", 4.5),
            Quotient(CHAT, "all", "busy", 4.0),
            Quotient(CHAT, "generation", "full", 13.125),
        ),
        month_ends={"2026-11": DECEMBER, "2026-10": NOVEMBER},
        metered_since={"2026-11": NOVEMBER, "2026-10": NOVEMBER - 24 * HOUR},
        projected={("search", "2026-11"): 11250.0},
        projection=Projection(
            Month("2026-11", NOVEMBER, DECEMBER),
            {"search": 9000 * DOLLAR},
            {"search": 2250 * DOLLAR},
            (
                PricePeriod(NOON, NOON + 60 * HOUR, 1200 * DOLLAR),
                PricePeriod(NOON + 60 * HOUR, DECEMBER, 1050 * DOLLAR),
            ),
            0.75,
            3000 * DOLLAR,
        ),
        first_price_rates={("search", "retrieval"): 17.0, ("unassigned", "unassigned"): 4.25},
        run_rate=9307.5,
        budgets=(BudgetRow("fleet", "", 27000.0), BudgetRow("search", "search", 12000.0)),
        headroom={CHAT: 0.0},
        savings=savings(),
        load_rates={CHAT: 8.5},
        met=(
            MetRow(CHAT, "first_token", "requests", ShareBounds(Fraction(3, 4), Fraction(15, 16))),
            MetRow(CHAT, "per_token", "requests", ShareBounds(Fraction(1), Fraction(1))),
            MetRow(CHAT, "all", "requests", ShareBounds(Fraction(3, 4), Fraction(15, 16))),
        ),
        met_costs=(MetCostRow(CHAT, 4.8, 6.0),),
        fleet_overheads={"staff": 61.145},
        price_list_date=JULY,
        gpus=(
            GpuRow(
                A,
                0,
                up=True,
                priced=True,
                idle_ratio=0.25,
                reading=GpuReading(
                    A,
                    0,
                    pci_bus_id="00000000:18:00.0",
                    driver_version="580.95.05",
                    utilization_ratio=0.75,
                    memory_used_bytes=70_000_000_000,
                    memory_total_bytes=85_520_809_984,
                    power_watts=612.5,
                ),
            ),
            GpuRow(
                B,
                1,
                up=True,
                priced=True,
                reading=GpuReading(B, 1, pci_bus_id="00000000:2A:00.0", driver_version="580.95.05"),
            ),
            GpuRow(LOST, 2, up=False, priced=False, reading=None),
        ),
        servers=(
            replace(
                endpoint,
                engine="vllm",
                engine_version="0.11.0",
                pod="chat-0",
                slo=ServiceLevel(0.75, 0.05, 0.95),
            ),
            replace(endpoint, url="http://10.0.0.2:8000/metrics", up=False, pod="chat-1"),
            ServerReading(
                ServerKey("", "batch"), "http://127.0.0.1:8080/metrics", up=True, engine="llama.cpp"
            ),
        ),
        unread=(
            *[UnreadServer(ServerKey("", "sglang:30000"), FailureReason.NOT_LISTENING, engine="sglang")] * 2,
            UnreadServer(endpoint.key, FailureReason.CONNECTION, "http://10.0.0.2:8000/metrics"),
        ),
        loads=(
            LoadRow(
                CHAT,
                LoadReading(
                    "llama-70b", running=5.0, waiting=1.0, max_running=32.0, kv_cache=Occupancy(0.75, 2)
                ),
            ),
            LoadRow(BATCH, LoadReading("qwen-7b")),
        ),
        shares=(
            ShareRow(ServerKey("ml", "chat"), "GPU-aaaa", 1.0, "whole"),
            ShareRow(ServerKey("ml", "chat"), "GPU-bbbb", 0.75, "configured"),
            ShareRow(ServerKey("", "batch"), "GPU-bbbb", 0.25, "configured"),
        ),
        splits=(SplitRow(CHAT, "time", 0.24), SplitRow(BATCH, "weights", None)),
        sources=(
            SourceRow("nvml", up=True, read_duration=2_500_000, last_success=NOON, errors={"timeout": 2}),
            SourceRow("server", up=False, read_duration=SECOND, last_success=None),
        ),
        exposition_errors=(("raised", 3),),
        web_refused=(("wrong_password", 7), ("reload_off", 0)),
        basis=tick_basis(),
        expected_gpus=3,
        visible_gpus=2,
        hosted=(
            HostedPrice("together-turbo", Decimal("1.04"), Decimal("1.04"), as_of="2026-11-24"),
            HostedPrice("deepinfra", Decimal("0.23"), Decimal("0.4"), cached_prompt=Decimal("0.05")),
        ),
    )


def web_clock() -> ManualClock:
    """The clock of the site: noon on a host that has been up for 1,000 seconds."""
    return ManualClock(1000 * SECOND, uptime=0, start=NOON - 1000 * SECOND)


@pytest.fixture
def hand_clock() -> ManualClock:
    return web_clock()


@pytest.fixture
def make_report() -> Callable[..., Report]:
    """The host, with changes: fields of the report, or of its books by `in_books`."""

    def make(*, in_books: dict[str, Any] | None = None, **changes: Any) -> Report:
        whole = report()
        if in_books is not None:
            changes["totals"] = replace(committed_totals(), **in_books)
        return replace(whole, **changes)

    return make


@pytest.fixture
def text() -> Callable[..., str]:
    """A report as text, by a renderer of its own."""

    def render(shown: Report | None, *, stale: bool = False) -> str:
        build = Build("0.1.0", "9e3d667", "3.11.7")
        return Exposition(build).render(shown, Variant(TEXT, gzip=False), stale=stale).decode()

    return render


@pytest.fixture
def lines(text: Callable[..., str]) -> Callable[[Report, str], list[str]]:
    """The samples of one metric in a report, as they are printed."""

    def of(shown: Report, name: str) -> list[str]:
        matching = (line for line in text(shown).splitlines() if line.startswith((f"{name}{{", f"{name} ")))
        return list(matching)

    return of


@pytest.fixture
def serve(hand_clock: ManualClock) -> Iterator[Callable[..., RunningServer]]:
    """Starts a server on a free port: with the host's report, unless another or none is given."""
    with ExitStack() as servers:

        def start(
            shown: Report | None = None,
            *,
            clock: Clock = hand_clock,
            limits: WebLimits | None = None,
            reloadable: bool = True,
            address: str = "127.0.0.1:0",
            web: Path | None = None,
            lifecycle: bool | None = None,
            allowed_hosts: tuple[str, ...] = (),
        ) -> RunningServer:
            site = RunningServer(clock, shown)
            access = Access(web, clock)
            access.load()
            site.server = WebServer(
                address,
                lambda: site.report,
                clock,
                site.reload if reloadable else None,
                Build("0.1.0", "9e3d667", "3.11.7"),
                access=access,
                limits=limits,
                lifecycle=lifecycle,
                allowed_hosts=allowed_hosts,
            )
            site.server.start()
            servers.callback(site.server.close)
            return site

        yield start
