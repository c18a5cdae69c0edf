"""The example of a service level on the page about the cost model, by the program."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

from exporter.cost.advance import advance
from exporter.cost.service_level import met_cost, met_ratios
from exporter.cost.state import State
from exporter.readings import Frame, LatencyReading, ServiceLevel
from tests.cost.readings import START, cost_policy, page, rent
from tests.kit.units import SECOND

SLO = ServiceLevel(first_token_seconds=0.75, per_token_seconds=0.05)


def histograms(count: int) -> tuple[LatencyReading, ...]:
    """So many times the 100 requests of the page."""
    return (
        LatencyReading(
            "ttft", "llama", "first_token", "requests", 0.5, 1.0, 75.0 * count, 95.0 * count, 100.0 * count
        ),
        LatencyReading(
            "tpot", "llama", "per_token", "requests", 0.05, 0.05, 90.0 * count, 90.0 * count, 100.0 * count
        ),
    )


def service_level() -> list[Fraction]:
    """100 requests in a tick, of which 75 to 95 and 90 met the two objectives, at 3 dollars a million."""
    state = State()
    for number in (1, 2):
        wall = START + 10 * SECOND * number
        reading = replace(page(), slo=SLO, latencies=histograms(number))
        frame = Frame(elapsed=wall, wall=wall, gpus=(), servers=(reading,))
        outcome = advance(state, frame, cost_policy(rent(1)))
        state = outcome.state
    counts = {
        (posting.objective, posting.basis, part): getattr(posting, part)
        for posting in outcome.postings.latencies
        for part in ("lower", "upper", "total")
    }
    ratios = met_ratios(counts, SLO.seconds())  # type: ignore[arg-type]
    both = ratios["all", "requests"]
    low, high = met_cost(3.0, both)
    assert low is not None
    assert high is not None
    return [
        *ratios["first_token", "requests"],
        ratios["per_token", "requests"].lower,
        *both,
        Fraction(low),
        Fraction(high),
    ]


LEVEL_EXAMPLES: dict[str, Callable[[], list[Fraction]]] = {"service-level": service_level}
