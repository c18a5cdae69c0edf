"""What the declarative format can say, with an invented engine."""

from exporter.engines import Engine, Interpretation, interpret, read, wanted
from exporter.engines.spec import Alternative, Count, Fingerprint, Gauge
from exporter.readings import CounterReading, LoadReading

INVENTED = Engine(
    name="invented",
    prefix="i_",
    default_port=1,
    fingerprint=Fingerprint(("i_busy_us",)),
    models=("served", "model"),
    groups=(
        (Alternative(("i_busy_us",), (Count("i_busy_us", "prefill_seconds", scale=1e-6),)),),
        (
            Alternative(
                ("i_cached",), (Count("i_cached", "cached_prompt", where=(("part", ("total", "")),)),)
            ),
        ),
    ),
    running=(Gauge("i_running", where=(("rank", ("0",)),)), Gauge("i_active")),
    waiting=(Gauge("i_queue"),),
)


def told(text: str, *, model: str = "") -> Interpretation:
    return interpret(INVENTED, read(text.encode(), wanted(INVENTED)), model=model)


def test_a_scale_makes_seconds_of_microseconds() -> None:
    """What is read is in base units, whatever the engine counts in."""
    assert told("i_busy_us 2500000").counters == (CounterReading("busy_us", "", "prefill_seconds", 2.5),)


def test_parts_of_a_total_are_left_out() -> None:
    """A total that stands beside its parts is counted alone."""
    page = told('i_cached{part="total"} 5\ni_cached{part="device"} 3\ni_cached{part="host"} 2\n')
    assert [(c.series, c.value) for c in page.counters] == [("cached{part=total}", 5.0)]


def test_the_first_label_that_names_the_model_names_it() -> None:
    """Without any, what is told from outside does."""
    page = told('i_cached{model="path",served="name"} 1\ni_cached{model="path"} 2\ni_cached 3', model="asked")
    assert [c.model for c in page.counters] == ["name", "path", "asked"]
    assert page.models == ("asked", "name", "path")


def test_the_first_gauge_on_the_page_tells_the_requests() -> None:
    """A gauge that repeats per rank is read at the chosen ranks; the second is for other versions."""
    both = told('i_running{rank="0"} 4\ni_running{rank="1"} 4\ni_active 9')
    assert both.loads == (LoadReading("", running=4.0),)
    assert told("i_active 9\ni_queue 1").loads == (LoadReading("", running=9.0, waiting=1.0),)


def test_each_rank_that_has_requests_has_a_batch() -> None:
    """Three of four data-parallel ranks run 7 together; where none runs any, one batch has nothing in it."""
    ranks = "\n".join(f'i_active{{rank="{rank}"}} {running}' for rank, running in enumerate((4, 0, 2, 1)))
    assert told(ranks).loads == (LoadReading("", running=7.0, batches=3),)
    assert told('i_active{rank="0"} 0\ni_active{rank="1"} 0').loads == (LoadReading("", running=0.0),)


def test_a_page_without_anything_says_nothing() -> None:
    """Absent, never zero."""
    assert told("other 1") == Interpretation((), (), (), "", None)
