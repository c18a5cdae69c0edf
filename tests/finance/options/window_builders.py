"""Hours of use, written by hand: two H100s of one server at 3 dollars an hour each, unless said otherwise."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from exporter.cost.attribution import UNALLOCATED_KEY
from exporter.finance.options.choices import WhatIfPolicy
from exporter.finance.options.load import (
    LoadHour,
    MeasuredLoad,
    RentedTime,
    ServedModel,
    measured_load,
)
from exporter.readings import ServerKey, TokenKind

DOLLAR, HOUR = 10**12, 3600 * 10**9
MONDAY = 1_793_577_600 // 3600
"""Hour of 2026-11-02T00:00:00Z, a Monday."""
CHAT = ServerKey("llm", "chat-8b")
SEARCH = ServerKey("", "embed")
FREE = UNALLOCATED_KEY
LLAMA = ServedModel(CHAT, "llama-8b")
BGE = ServedModel(SEARCH, "bge")


def hour(
    dollars: float = 6,
    gpus: float = 2,
    tokens: int = 0,
    *,
    server: ServerKey = CHAT,
    model: ServedModel = LLAMA,
    kind: TokenKind = "generation",
    component: str = "rent",
    gpu_model: str = "H100",
    covered: int = HOUR,
) -> LoadHour:
    """An hour of one server, whose GPUs are rented, and busy for a half of it."""
    money, time = int(dollars * DOLLAR), int(gpus * HOUR)
    return LoadHour(
        covered,
        money={(server, component): money},
        gpu_time={server: time},
        busy={server: time // 2},
        tokens={(model, kind): tokens} if tokens else {},
        rented={gpu_model: RentedTime(money, time)} if component == "rent" else {},
    )


def hours(count: int, make: Callable[[int], LoadHour]) -> dict[int, LoadHour]:
    """So many from Monday's midnight."""
    return {MONDAY + number: make(number) for number in range(count)}


def measured(
    window: dict[int, LoadHour], servers: str = "", of: Iterable[ServerKey] | None = None
) -> MeasuredLoad:
    """The load of whole hours, of all servers or of some."""
    keys = None if of is None else frozenset(of)
    last = max(window)
    return measured_load(window, min(window), last, servers, lambda key: keys is None or key in keys)


def day(tokens: Callable[[int], int] = lambda _: 1000, **changes: Any) -> MeasuredLoad:
    """24 hours of two H100s at 3 dollars: 144 dollars, 4,380 a month."""
    return measured(hours(24, lambda number: hour(tokens=tokens(number), **changes)))


def policy(**changes: Any) -> WhatIfPolicy:
    """A month of 730 hours, in UTC, at noon of 2026-11-25."""
    return replace(WhatIfPolicy(1_795_608_000 * 10**9, ZoneInfo("UTC"), Decimal(730)), **changes)
