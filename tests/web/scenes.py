"""Hosts that the page is looked at with: few and many servers, none, and those that it knows little of.

Every figure follows from the price of a GPU and the shares of servers, so that sums agree.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from html import unescape
from pathlib import Path
from typing import Final, NamedTuple

from exporter.cost.postings import CostOwner
from exporter.cost.projection import PricePeriod, Projection
from exporter.cost.quotients import QuotientKind
from exporter.readings import Gpu, GpuReading, LoadReading, ServerReading, TokenKind
from exporter.report import (
    Build,
    CommittedTotals,
    ComponentPrice,
    GpuRow,
    HostSavings,
    Hour,
    LoadRow,
    MonthKey,
    Quotient,
    RecentHistory,
    Report,
    ShareRow,
    SourceRow,
    SplitRow,
    Window,
)
from exporter.tariff.calendar import Month
from exporter.tariff.rate import PriceBasis, Provenance
from exporter.units import Picodollars, dollars
from exporter.web.page import explanation, page
from tests.kit.units import CENT, DECEMBER, HOUR, NOVEMBER, SECOND
from tests.web import conftest as host
from tests.web.conftest import NOON, UNALLOCATED_OWNER
from tests.web.test_page import HOSTILE

BUILD: Final = Build("0.1.0", "9e3d667", "3.11.7")
TICK: Final = 1000 * SECOND
"""The time of their reports since boot."""

RENT: Final = 250 * CENT
STORAGE: Final = 10 * CENT
HOURLY: Final = RENT + STORAGE
HOURS_PAST: Final = 23 * 24 + 12
HOURS_LEFT: Final = 30 * 24 - HOURS_PAST
UNMETERED: Final = range(90, 130)
NO_PART: Final = 1e-9
QUOTIENTS: Final[tuple[tuple[QuotientKind, float], ...]] = (("all", 10), ("computed", 15))
ENGINES: Final = ("chat", "search", "embed", "rerank", "vision", "code", "batch", "trial")
MODELS: Final = (
    "meta-llama/Llama-3.3-70B-Instruct",
    "Qwen/Qwen3-8B",
    "BAAI/bge-m3",
    "mistralai/Ministral-8B-Instruct-2410",
)
TEAMS: Final = (("assistant", "conversations"), ("search", "retrieval"), ("unassigned", "unassigned"))


def gpu(number: int) -> Gpu:
    """A GPU of the host."""
    return Gpu(f"GPU-{number:04d}", "NVIDIA H100 80GB HBM3")


def scene(
    servers: int, gpus: int, names: Mapping[int, str] | None = None, basis: PriceBasis = "configured"
) -> Report:
    """A host where servers hold equal parts of all GPUs but the last one of several."""
    in_use = 0 if not servers else max(1, gpus - 1)
    owners = [_owner(number, names or {}) for number in range(servers)]
    costs = dict.fromkeys(owners, HOURLY * in_use // max(1, servers))
    if gpus > in_use:
        costs[UNALLOCATED_OWNER] = HOURLY * (gpus - in_use)
    whole = sum(costs.values())
    listed = Provenance(basis, "config.yaml:12" if basis == "configured" else "market price", "2026-11-01")
    totals = _totals(owners, costs, basis)
    spent = sum(totals.months.values())
    left = whole * HOURS_LEFT
    return replace(
        host.report(),
        totals=totals,
        rates={owner: dollars(cost) for owner, cost in costs.items()},
        prices=tuple(
            ComponentPrice(gpu(number), component, dollars(price), listed)
            for number in range(gpus)
            for component, price in (("rent", RENT), ("storage", STORAGE))
        ),
        quotients=tuple(
            Quotient(owner, kind, "full", dollars(costs[owner]) * times)
            for owner in owners
            for kind, times in QUOTIENTS
        ),
        metered_since={"2026-11": NOVEMBER},
        projected={("assistant", "2026-11"): dollars(spent + left)} if gpus else {},
        projection=Projection(
            Month("2026-11", NOVEMBER, DECEMBER),
            {"assistant": spent},
            {"assistant": left},
            (PricePeriod(NOON, DECEMBER, left),),
            1.0,
            left,
        )
        if gpus
        else None,
        run_rate=dollars(whole * 730) if gpus else None,
        savings=_savings(costs, basis),
        gpus=tuple(_gpu_row(number, in_use) for number in range(gpus)),
        servers=tuple(
            ServerReading(owner.key, f"http://10.0.0.1:{8000 + number}/metrics", up=True)
            for number, owner in enumerate(owners)
        ),
        unread=(),
        loads=tuple(LoadRow(owner, LoadReading(owner.model)) for owner in owners),
        shares=tuple(_shares(owners, in_use)),
        splits=tuple(SplitRow(owner, "time", 0.24) for owner in owners),
        sources=tuple(
            SourceRow(source, up=True, read_duration=SECOND, last_success=NOON)
            for source in ("nvml", *(f"server:{owner.server}" for owner in owners))
        ),
        price_list_date=NOON,
        expected_gpus=gpus,
        visible_gpus=gpus,
    )


def _owner(number: int, names: Mapping[int, str]) -> CostOwner:
    product, team = TEAMS[number % len(TEAMS)]
    called = names.get(number, f"{ENGINES[number % len(ENGINES)]}-{number + 1:02d}")
    return CostOwner(product, team, "", called, names.get(number, MODELS[number % len(MODELS)]))


def _shares(owners: Sequence[CostOwner], in_use: int) -> Iterator[ShareRow]:
    """Of the GPUs that are in_use, each server has one of as many equal stretches as there are servers."""
    for number, owner in enumerate(owners):
        begin, end = number * in_use / len(owners), (number + 1) * in_use / len(owners)
        for index in range(int(begin), in_use):
            part = min(end, index + 1) - max(begin, index)
            if part > NO_PART:
                yield ShareRow(owner.key, gpu(index).uuid, part, "whole" if part == 1 else "configured")


def _gpu_row(number: int, in_use: int) -> GpuRow:
    reading = GpuReading(gpu(number), number, utilization_ratio=0.25, power_watts=310.0 + number)
    idle_ratio = 0.75 if number < in_use else 1.0
    return GpuRow(gpu(number), number, up=True, priced=True, reading=reading, idle_ratio=idle_ratio)


def _totals(
    owners: Sequence[CostOwner], costs: Mapping[CostOwner, Picodollars], basis: PriceBasis
) -> CommittedTotals:
    whole = sum(costs.values())
    tokens: dict[tuple[CostOwner, TokenKind], int] = {
        (owner, "generation"): 1_000_000 * (number + 1) for number, owner in enumerate(owners)
    }
    window = {
        owner: Window({"decode": costs[owner] // 4, "idle": costs[owner] - costs[owner] // 4})
        for owner in owners
    }
    if UNALLOCATED_OWNER in costs:
        window[UNALLOCATED_OWNER] = Window({"idle": costs[UNALLOCATED_OWNER]})
    history = _history(whole, tokens)
    spent = sum(filter(None, history.before))
    return replace(
        host.committed_totals(),
        uncharged=0,
        window=window,
        tokens=tokens,
        last_token={owner: NOON - (number + 1) * 90 * SECOND for number, owner in enumerate(owners)},
        months={MonthKey("assistant", "conversations", basis, "2026-11"): spent} if spent else {},
        history=history,
    )


def _history(whole: Picodollars, tokens: Mapping[tuple[CostOwner, TokenKind], int]) -> RecentHistory:
    """A month of hours that get dearer day by day, of which one day and a bit was not metered."""
    if not whole:
        return RecentHistory()
    busy = [1 + (12 - abs(12 - number)) // 2 for number in range(24)]
    hours = tuple(
        Hour(
            NOON + (number - 24) * HOUR,
            {"prefill": whole // 10, "decode": whole * tenths // 10, "idle": whole * (9 - tenths) // 10}
            if tokens
            else {"idle": whole},
            HOUR,
        )
        for number, tenths in enumerate(busy)
    )
    last_day = sum(sum(hour.money.values()) for hour in hours)
    rent = last_day * RENT // HOURLY
    return RecentHistory(
        hours=(*hours, Hour(NOON)),
        tokens=tokens,
        components={"rent": rent, "storage": last_day - rent},
        before=tuple(
            None if number in UNMETERED else whole * (90 + number // 24) // 100
            for number in range(HOURS_PAST)
        ),
    )


def _savings(costs: Mapping[CostOwner, Picodollars], basis: PriceBasis) -> HostSavings:
    unallocated, deserted = host.savings().findings
    findings = [
        replace(deserted, server=owner.key, per_month=cost * 730, price_basis=basis)
        for owner, cost in list(costs.items())[1:6]
        if owner != UNALLOCATED_OWNER
    ]
    if UNALLOCATED_OWNER in costs:
        findings.append(replace(unallocated, per_month=HOURLY * 730))
    return HostSavings(NOON, 336, tuple(sorted(findings, key=lambda each: -each.per_month)))


def first_minute() -> Report:
    """Ten seconds after the first tick of a new ledger."""
    young = scene(4, 4)
    assert young.totals is not None
    return replace(
        young,
        totals=replace(young.totals, months={}, window={}, history=RecentHistory(), tokens={}, last_token={}),
        quotients=(),
        projected={},
        projection=None,
        savings=None,
        splits=(),
    )


def no_price() -> Report:
    """GPUs of a model that no rule prices."""
    poor = scene(4, 4)
    assert poor.totals is not None
    history = RecentHistory(tokens=poor.totals.history.tokens)
    return replace(
        poor,
        totals=replace(poor.totals, months={}, history=history, window={}),
        rates={},
        prices=(),
        quotients=(),
        projected={},
        projection=None,
        run_rate=None,
        savings=None,
        gpus=tuple(replace(row, priced=False, idle_ratio=None) for row in poor.gpus),
    )


def hostile_names() -> Report:
    """Servers and models that are named to break a page."""
    return scene(len(HOSTILE), 4, dict(enumerate(HOSTILE)))


SCENES: Final[Mapping[str, Callable[[], Report]]] = {
    "one": lambda: scene(1, 1, basis="estimate"),
    "eight": lambda: scene(8, 8),
    "forty": lambda: scene(40, 16),
    "names": hostile_names,
    "minute": first_minute,
    "no-gpu": lambda: replace(scene(0, 0), budgets=()),
    "no-server": lambda: scene(0, 4),
    "no-price": no_price,
}
"""By name; each is a function, as a report takes milliseconds to make."""

EXPLAINED: Final = "eight"
EXPLANATION: Final = "explained"
"""The scene whose explanation is looked at, and the name of that."""


class Picture(NamedTuple):
    """A picture in the docs: its file, and how its scene was looked at."""

    file: str
    scene: str
    how: str


PICTURES: Final = (
    Picture("page-light.webp", "eight", "wide-light"),
    Picture("page-dark.webp", "eight", "wide-dark"),
    Picture("page-narrow.webp", "eight", "phone-light"),
    Picture("page-explained.webp", EXPLANATION, "wide-light"),
    Picture("page-one.webp", "one", "wide-light"),
    Picture("page-forty.webp", "forty", "wide-light-servers"),
    Picture("page-names.webp", "names", "wide-light"),
    Picture("page-first-minute.webp", "minute", "wide-light"),
    Picture("page-no-gpu.webp", "no-gpu", "wide-light"),
    Picture("page-no-server.webp", "no-server", "wide-light"),
    Picture("page-no-price.webp", "no-price", "wide-light"),
)
MANIFEST: Final = "page-pictures.json"


def manifest() -> dict[str, str]:
    """Of each picture the hash of the page that it shows, without white space and character references."""
    return {picture.file: sha256(_shown(picture.scene)).hexdigest() for picture in PICTURES}


def _shown(scene: str) -> bytes:
    return "".join(unescape(document(scene).decode()).split()).encode()


def document(name: str) -> bytes:
    """The page of a scene, or the explanation."""
    if name == EXPLANATION:
        return explanation(SCENES[EXPLAINED](), TICK, "", BUILD) or b""
    return page(SCENES[name](), TICK, BUILD)


def write_manifest(folder: Path) -> None:
    """Write down which pages were looked at."""
    (folder / MANIFEST).write_text(json.dumps(manifest(), indent=2) + "\n", encoding="utf-8")
