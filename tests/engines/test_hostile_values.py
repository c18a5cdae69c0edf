"""Values that no counter has, on pages of every engine."""

import pytest

from exporter.engines import ENGINES, interpret, read, wanted
from exporter.engines.spec import Choice


def labelled(choice: Choice) -> str:
    """The first value of each label that is chosen."""
    return "{" + ",".join(f'{label}="{values[0]}"' for label, values in choice) + "}"


@pytest.mark.parametrize("value", ["NaN", "nan", "+Inf", "-Inf", "-1", "-0.5"])
@pytest.mark.parametrize("name", sorted(ENGINES))
def test_what_is_no_count_is_no_reading(name: str, value: str) -> None:
    """A counter or a gauge that is not a number, infinite or negative says nothing, and fails nothing."""
    engine = ENGINES[name]
    page = "".join(
        f"{series}{labelled(choice)} {value}\n"
        for series in sorted(wanted(engine).names)
        for choice in {(), *(count.where for count in engine.counts())}
    )
    interpretation = interpret(engine, read(page.encode(), wanted(engine)))
    assert (interpretation.counters, interpretation.started) == ((), None)
    assert all(load.running is None and load.waiting is None for load in interpretation.loads)


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_every_count_of_every_engine_can_be_read(name: str) -> None:
    """The labels that it chooses can be there: no count is in vain."""
    engine = ENGINES[name]
    for count in engine.counts():
        alternatives = [
            alternative for group in engine.groups for alternative in group if count in alternative.counts
        ]
        required = sorted({*alternatives[0].requires} - {count.name})
        page = f"{count.name}{labelled(count.where)} 2\n" + "".join(f"{other} 0\n" for other in required)
        interpretation = interpret(engine, read(page.encode(), wanted(engine)))
        assert (count.quantity, 2 * count.scale, count.sign) in {
            (counter.quantity, counter.value, counter.sign) for counter in interpretation.counters
        }
