"""Texts of recent ticks: one made from the text before is that of the pairs alone."""

import json

from hypothesis import given
from hypothesis import strategies as st

from exporter.ledger.recent_texts import Recent, RecentTexts, text_of

PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=4).map(tuple)
STEP = st.tuples(st.integers(0, 5), PAIRS)
"""Pairs that go, and those that come: in nearly all ticks one."""


def as_json(recent: Recent) -> str:
    return json.dumps(recent, separators=(",", ":"))


@given(st.lists(st.tuples(STEP, STEP), max_size=12))
def test_a_text_is_that_of_the_pairs_whatever_came_before(
    ticks: list[tuple[tuple[int, Recent], ...]],
) -> None:
    texts = RecentTexts()
    gpus: dict[str, Recent] = {"GPU-1": (), "GPU-2": ((10, 7),)}
    for steps in ticks:
        gpus = {
            uuid: (*recent[gone:], *come)
            for (uuid, recent), (gone, come) in zip(gpus.items(), steps, strict=True)
        }
        assert texts.of(gpus) == [as_json(recent) for recent in gpus.values()]


def test_pairs_that_changed_in_their_middle_are_not_those_of_the_text_before() -> None:
    texts = RecentTexts()
    texts.of({"GPU-1": ((1, 2), (3, 4), (5, 6))})

    assert texts.of({"GPU-1": ((3, 9), (5, 6), (7, 8))}) == ["[[3,9],[5,6],[7,8]]"]


def test_a_gpu_that_was_gone_begins_with_its_own_pairs() -> None:
    texts = RecentTexts()
    texts.of({"GPU-1": ((1, 2), (3, 4))})
    texts.of({"GPU-2": ((1, 2),)})

    assert texts.of({"GPU-1": ((3, 4), (5, 6))}) == ["[[3,4],[5,6]]"]


def test_no_pairs_are_an_empty_array() -> None:
    assert text_of(()) == "[]"
