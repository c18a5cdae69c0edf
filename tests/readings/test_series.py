"""Series in columns say what the objects said, for a tenth of the memory."""

import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.readings import CounterColumns, CounterReading, SeriesColumns, digest

NAMES = st.text(max_size=40)
COUNTERS = st.lists(
    st.builds(
        CounterReading,
        NAMES,
        st.sampled_from(["llama", "qwen", ""]),
        st.sampled_from(["prompt", "generation", "requests"]),
        st.floats(0, 2.0**53),
        st.sampled_from([1, -1]),
        st.none() | st.integers(0, 2**62),
    ),
    max_size=20,
    unique_by=lambda one: one.series,
)


def by_digest(counter: CounterReading) -> CounterReading:
    """The same counter, which goes by its digest."""
    return CounterReading(
        f"#{digest(counter.series):016x}",
        counter.model,
        counter.quantity,
        counter.value,
        counter.sign,
        counter.created,
    )


@given(COUNTERS)
def test_columns_hold_every_counter_in_its_order(counters: list[CounterReading]) -> None:
    """All but the name, which is a digest."""
    columns = CounterColumns(counters)

    assert list(columns) == [by_digest(one) for one in counters]
    assert [columns[number] for number in range(len(columns))] == list(columns)
    assert columns[1:3] == tuple(columns)[1:3]
    assert columns == CounterColumns(columns)
    assert columns != CounterColumns([*counters, CounterReading("more", "m", "prompt", 1)])


@given(st.dictionaries(NAMES, st.floats(0, 2.0**53)))
def test_numbers_come_back_from_their_bytes(values: dict[str, float]) -> None:
    """By the digest of each name."""
    numbers = {digest(name): value for name, value in values.items()}
    columns = SeriesColumns(numbers)
    back = SeriesColumns.from_bytes(columns.to_bytes())

    assert (back, back.by_digest(), len(back)) == (columns, numbers, len(numbers))


def test_the_digest_of_a_digest_is_itself() -> None:
    """What was kept in columns is found again among names."""
    (one,) = CounterColumns([CounterReading('prompt_tokens_total{model="m"}', "m", "prompt", 1)])

    assert digest(one.series) == digest('prompt_tokens_total{model="m"}')
    assert digest("#1") != 1
    assert digest("\ud800") == digest("?")  # a lone surrogate is spelled as any writer would


@pytest.mark.parametrize("length", [1, 8, 15, 24])
def test_bytes_that_are_no_columns_are_refused(length: int) -> None:
    """Two columns of eight bytes a number."""
    with pytest.raises(ValueError, match=f"{length} bytes are no columns of series"):
        SeriesColumns.from_bytes(bytes(length))


def test_what_is_no_columns_is_not_equal_to_them() -> None:
    """Nor are these what a set could hold."""
    assert SeriesColumns({}) != {}
    assert CounterColumns(()) != ()


def test_columns_take_a_tenth_of_the_memory() -> None:
    """Of 10,000 series with names like those of vLLM, 20 bytes each where objects take 250 and more."""

    def taken(make: Callable[[], object]) -> float:
        tracemalloc.start()
        try:
            made = make()
            size, _ = tracemalloc.get_traced_memory()
            del made
        finally:
            tracemalloc.stop()
        return size / 10_000

    def counters() -> tuple[CounterReading, ...]:
        labels = 'engine="0",model_name="meta-llama/Llama-3.1-70B-Instruct"'
        return tuple(
            CounterReading(
                f'vllm:prompt_tokens_total{{{labels},tenant="tenant-{number:05}"}}',
                "m",
                "prompt",
                0.5 + number,
            )
            for number in range(10_000)
        )

    objects = counters()
    assert taken(counters) > 250
    assert taken(lambda: CounterColumns(objects)) < 25
