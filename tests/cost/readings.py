"""Readings, prices and policies of the cost model's tests, in short form."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from exporter.cost.policy import CostPolicy
from exporter.readings import (
    CounterReading,
    Gpu,
    GpuReading,
    Holder,
    LoadReading,
    Quantity,
    ServerKey,
    ServerReading,
)
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Electricity, Hardware, HardwareMatch, Overhead, Owned, Rented, RentPrice
from tests.kit.units import HOUR, SECOND

CHAT = ServerKey("", "chat")
BATCH = ServerKey("", "batch")


def moment(text: str) -> int:
    """Nanoseconds since the epoch of an ISO time with an offset."""
    time = datetime.fromisoformat(text)
    assert time.tzinfo is not None
    return round(time.timestamp()) * SECOND


START = moment("2026-11-10T00:00:00+00:00")


def h100(number: int = 0, **values: Any) -> GpuReading:
    """A reading of one GPU; busy all the time unless `values` say otherwise."""
    return GpuReading(Gpu(f"GPU-{number}", "NVIDIA H100"), number, **{"utilization_ratio": 1.0, **values})


def counters(model: str, counts: Mapping[Quantity, float]) -> tuple[CounterReading, ...]:
    """One series for each quantity of a model."""
    return tuple(
        CounterReading(f"{quantity}/{model}", model, quantity, counts[quantity]) for quantity in counts
    )


def page(
    key: ServerKey = CHAT,
    model: str = "llama",
    running: float | None = 1.0,
    url: str | None = None,
    **counts: float,
) -> ServerReading:
    """What one endpoint of one model answered; keywords are lifetime counts by quantity."""
    return ServerReading(
        key,
        url or f"http://{key.server}",
        up=True,
        identity=f"{key.server}-1",
        counters=counters(model, counts),  # type: ignore[arg-type]
        loads=(LoadReading(model, running),),
        models=(model,),
    )


def down(reading: ServerReading) -> ServerReading:
    """The same endpoint when it does not answer."""
    return ServerReading(reading.key, reading.url, up=False)


def allocate(key: ServerKey, *numbers: int, share: float | None = None) -> tuple[Holder, ...]:
    """A server that holds these GPUs."""
    return tuple(Holder(key, f"GPU-{number}", share) for number in numbers)


def rent(
    dollars: str | int, gpus: int = 1, energy: Electricity | None = None, match: HardwareMatch | None = None
) -> Hardware:
    """Flat rent by the hour."""
    rented = Rented((RentPrice(Decimal(dollars), gpus),))
    return Hardware(match or HardwareMatch(), rented, "hardware[0]", energy)


def owned(energy: Electricity | None = None, **overrides: Any) -> Hardware:
    """Owned hardware in service since the beginning of 2026, unless `overrides` say otherwise."""
    fields: dict[str, Any] = {
        "purchase_dollars": Decimal(280_000),
        "gpus": 8,
        "in_service": moment("2026-01-01T00:00:00+00:00"),
        "in_service_text": "2026-01-01",
        "life_years": Decimal(3),
        **overrides,
    }
    return Hardware(HardwareMatch(), Owned(**fields), "hardware[0]", energy)


def overhead(name: str, dollars: str, period: Any, per: Any, host: str | None = None) -> Overhead:
    """A configured amount beside the hardware."""
    return Overhead(name, Decimal(dollars), period, per, "overheads[0]", host)


def cost_policy(*hardware: Hardware, overheads: tuple[Overhead, ...] = (), **settings: Any) -> CostPolicy:
    """The cost policy of a host with these prices."""
    settings.setdefault("gap_max", 10**7 * HOUR)  # a tick may be a year here; gaps have tests of their own
    return CostPolicy(Tariff("host-1", hardware, overheads), **settings)
