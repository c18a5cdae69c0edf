"""The cost model's own ticks through a real file, opened anew after every one."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from exporter.cost.advance import advance
from exporter.cost.policy import Terms
from exporter.ledger.ledger import Ledger
from exporter.readings import CounterReading, Frame, GpuReading, Holder, LoadReading, ServerKey, ServerReading
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Electricity, Hardware, HardwareMatch, Rented, RentPrice
from tests.ledger.ledger_ticks import GPU_0, GPU_1, NOVEMBER, SECOND, StillClock

CHAT = ServerKey("llm", "chat")
PRICE = Rented((RentPrice(Decimal("55.04"), 7),))
TERMS = Terms(
    Tariff("host-1", (Hardware(HardwareMatch(), PRICE, "hardware[0]", Electricity(Decimal("0.13"))),), ())
)


def frame(number: int) -> Frame:
    """Two GPUs, one of them held by a server that works; every tick moves everything a little."""
    moved = {"prompt": 900 * number, "generation": 100 * number, "prefill_seconds": number / 3}
    return Frame(
        elapsed=number * 10 * SECOND,
        wall=NOVEMBER + number * 10 * SECOND,
        gpus=tuple(
            GpuReading(
                gpu, index, utilization_ratio=0.7, power_watts=431.7, energy=4_317_001 * number + index
            )
            for index, gpu in enumerate((GPU_0, GPU_1))
        ),
        servers=(
            ServerReading(
                CHAT,
                "http://127.0.0.1:8000/metrics",
                up=True,
                identity="1:2",
                counters=tuple(
                    CounterReading(name, "llama", name, value)  # type: ignore[arg-type]
                    for name, value in moved.items()
                ),
                loads=(LoadReading("llama", 3.0),),
                models=("llama",),
            ),
        ),
        holders=(Holder(CHAT, "GPU-0"),),
    )


def test_a_daemon_that_restarts_after_every_tick_remembers_everything(path: Path, clock: StillClock) -> None:
    """Each tick's state comes back from the file as it went in, and the books balance."""
    for number in range(1, 40):
        ledger = Ledger.open(path, clock)
        outcome = advance(ledger.state(), frame(number), TERMS)
        ledger.post(outcome.postings, outcome.state)
        books = ledger.books(outcome.postings.end, ("2026-11",))
        ledger.close()
        again = Ledger.open(path, clock)
        remembered = again.state()
        again.close()

        gpus = {uuid: replace(gpu, owed={}) for uuid, gpu in outcome.state.gpus.items()}
        assert remembered == replace(outcome.state, gpus=gpus)
        assert books.residual == 0
        assert (again.dropped, again.problem) == ((), "")

    # 38 ticks of 10 s of two GPUs at 55.04 / 7 dollars an hour, to the picodollar below.
    rent = sum(amount for (_gpu, component), amount in books.gpu_cost.items() if component == "rent")
    assert rent == 2 * (38 * 10 * 55_040_000_000_000 // (7 * 3600))
    # The first read sets the marks; 38 more moved 900 and 100 tokens each.
    assert sorted(books.tokens.values()) == [38 * 100, 38 * 900]
