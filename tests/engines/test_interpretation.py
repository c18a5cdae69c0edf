"""What the declarative format can say, with an invented engine."""

from dataclasses import replace

import pytest

from exporter.engines import Engine, Interpretation, interpret, read, wanted
from exporter.engines.spec import Alternative, Count, Fingerprint, Gauge, Manual, ModelLabel, under_prefix
from exporter.readings import CounterReading, LoadReading

INVENTED = Engine(
    name="invented",
    prefix="i_",
    default_port=1,
    fingerprint=Fingerprint(("i_busy_us",)),
    model_labels=("served", "model"),
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


def interpretation(text: str, *, model: str = "", engine: Engine = INVENTED) -> Interpretation:
    return interpret(engine, read(text.encode(), wanted(engine)), model=model)


def test_a_scale_makes_seconds_of_microseconds() -> None:
    """What is read is in base units, whatever the engine counts in."""
    assert interpretation("i_busy_us 2500000").counters == (
        CounterReading("busy_us", "", "prefill_seconds", 2.5),
    )


def test_parts_of_a_total_are_left_out() -> None:
    """A total that stands beside its parts is counted alone."""
    page = interpretation('i_cached{part="total"} 5\ni_cached{part="device"} 3\ni_cached{part="host"} 2\n')
    assert [(c.series, c.value) for c in page.counters] == [("cached{part=total}", 5.0)]


def test_the_first_label_that_names_the_model_names_it() -> None:
    """Without any, what is told from outside does."""
    page = interpretation(
        'i_cached{model="path",served="name"} 1\ni_cached{model="path"} 2\ni_cached 3', model="asked"
    )
    assert [c.model for c in page.counters] == ["name", "path", "asked"]
    assert page.models == ("asked", "name", "path")


def test_the_first_gauge_on_the_page_tells_the_requests() -> None:
    """A gauge that repeats per rank is read at the chosen ranks; the second is for other versions."""
    both = interpretation('i_running{rank="0"} 4\ni_running{rank="1"} 4\ni_active 9')
    assert both.loads == (LoadReading("", running=4.0),)
    assert interpretation("i_active 9\ni_queue 1").loads == (LoadReading("", running=9.0, waiting=1.0),)


def test_each_rank_that_has_requests_has_a_batch() -> None:
    """Three of four data-parallel ranks run 7 together; where none runs any, one batch has nothing in it."""
    ranks = "\n".join(f'i_active{{rank="{rank}"}} {running}' for rank, running in enumerate((4, 0, 2, 1)))
    assert interpretation(ranks).loads == (LoadReading("", running=7.0, batches=3),)
    assert interpretation('i_active{rank="0"} 0\ni_active{rank="1"} 0').loads == (
        LoadReading("", running=0.0),
    )


def test_a_page_without_anything_says_nothing() -> None:
    """Absent, never zero."""
    assert interpretation("other 1") == Interpretation((), (), (), "", None)


def test_ranks_that_count_the_same_work_are_one_series() -> None:
    """The largest of them, under a name without the rank, so that it outlives a rank that leaves."""
    engine = replace(INVENTED, repeated=frozenset({"rank"}))
    both = interpretation(
        'i_cached{rank="0",dp="0"} 5\ni_cached{rank="1",dp="0"} 6\ni_cached{dp="1"} 7', engine=engine
    )
    assert [(c.series, c.value) for c in both.counters] == [("cached{dp=0}", 6.0), ("cached{dp=1}", 7.0)]
    one = interpretation('i_cached{rank="1",dp="0"} 6', engine=engine)
    assert one.counters == both.counters[:1]


def test_requests_that_ranks_repeat_are_told_once() -> None:
    """Gauges are read as counters are."""
    engine = replace(INVENTED, repeated=frozenset({"pid"}))
    page = interpretation('i_active{pid="7"} 4\ni_active{pid="8"} 3', engine=engine)
    assert page.loads == (LoadReading("", running=4.0),)


def test_a_model_label_that_names_none_is_no_name() -> None:
    """The model is then the one that was asked for, else the one that the page names elsewhere."""
    engine = replace(
        INVENTED, nameless=("undefined",), named_by=(ModelLabel("i_info", "path"), ModelLabel("i_info", "x"))
    )
    page = 'i_cached{model="undefined"} 1\ni_info{path="p/m"} 1'
    assert interpretation(page, engine=engine).models == ("p/m",)
    assert interpretation(page, engine=engine, model="asked").models == ("asked",)
    assert interpretation('i_cached{model="undefined"} 1\ni_info{x=""} 1', engine=engine).models == ()


@pytest.mark.parametrize(
    ("roles", "role"),
    [
        (("prefill", "prefill"), "prefill"),
        (("decode", ""), "decode"),
        (("prefill", "decode"), ""),
        (("unified", "unified"), ""),
        (("dynamic", "prefill"), ""),
    ],
)
def test_the_role_of_a_server_is_that_of_all_its_series(roles: tuple[str, str], role: str) -> None:
    """A page of both, or of one that changes it, is of neither."""
    engine = replace(INVENTED, role_label="kind")
    page = interpretation(f'i_cached{{kind="{roles[0]}"}} 1\ni_queue{{kind="{roles[1]}"}} 1', engine=engine)
    assert page.role == role


def test_an_engine_takes_over_the_names_of_another() -> None:
    """Every name moves with the prefix, and nothing else does."""
    other = under_prefix(
        replace(INVENTED, named_by=(ModelLabel("i_info", "i_label"),), manual=Manual(title="i_")),
        "j:",
        name="other",
    )
    assert other.name == "other"
    assert other.manual == Manual()
    assert {"j:busy_us", "j:cached", "j:running", "j:active", "j:queue", "j:info"} < wanted(other).names
    assert interpretation('j:running{rank="0"} 2', engine=other).loads == (LoadReading("", running=2.0),)
