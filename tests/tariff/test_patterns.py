"""A pattern covers another when no text matches the other alone."""

import itertools
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as some

from exporter.tariff.rule_matching import covers
from exporter.tariff.terms import matches
from tests.depth import examples


@pytest.mark.parametrize(
    ("wider", "narrower"),
    [
        (None, None),
        (None, "a"),
        ("*", None),
        ("*", "dc1-*"),
        ("**", None),
        ("*H100*", "NVIDIA H100 80GB HBM3"),
        ("*H100*", "*H100 80GB*"),
        ("dc?-*", "dc1-*"),
        ("dc?-*", "dc[12]-a"),
        ("dc[12]-a", "dc1-a"),
        ("*a*b*", "*ab*"),
        ("*?", "?*"),
        ("?*", "*?"),
        ("a[[]b", "a[[]b"),
        ("[", "["),
        ("[]a]", "]"),
        ("p5*", "p5[e.]48xlarge"),
    ],
)
def test_what_is_covered(wider: str | None, narrower: str | None) -> None:
    """The same, wider sets, and stars in other places."""
    assert covers(wider, narrower)


@pytest.mark.parametrize(
    ("wider", "narrower"),
    [
        ("a", None),
        ("?*", None),
        ("a*", "*"),
        ("*H100*", "*H200*"),
        ("*H100 80GB*", "*H100*"),
        ("dc1-*", "dc?-*"),
        ("dc[12]-*", "dc[123]-*"),
        ("dc[!3]-*", "dc[23]-*"),
        ("[a-c]", "[a-d]"),
        ("??*", "?*"),
        ("*a*b*", "*b*a*"),
        ("P5*", "p5*"),
        ("[", "[]"),
    ],
)
def test_what_is_not_covered(wider: str | None, narrower: str | None) -> None:
    """One text is enough."""
    assert not covers(wider, narrower)


@pytest.mark.parametrize(
    ("wider", "narrower"), [("dc[12]-*", "dc1-*"), ("dc[!3]-*", "dc[12]-*"), ("dc[0-9]-*", "dc[2-4]-a")]
)
def test_a_pattern_with_brackets_is_only_held_against_texts(wider: str, narrower: str) -> None:
    """A rule that never applies goes unnoticed there; none that applies is called idle."""
    assert not covers(wider, narrower)


PARTS = ["*", "?", "a", "b"]
PATTERNS = some.lists(some.sampled_from(PARTS), min_size=1, max_size=4).map("".join)
WITH_BRACKETS = some.lists(some.sampled_from([*PARTS, "[ab]", "[!a]", "[a-b]"]), min_size=1, max_size=4).map(
    "".join
)
TEXTS = ["".join(text) for size in range(6) for text in itertools.product("abc", repeat=size)]


def tried(wider: str, narrower: str) -> bool:
    """Texts of up to five letters tell patterns of up to four apart: a, b, and one that is neither."""
    return all(fnmatchcase(text, wider) for text in TEXTS if fnmatchcase(text, narrower))


@examples(150)
@given(PATTERNS, PATTERNS)
def test_it_says_what_trying_all_texts_says(wider: str, narrower: str) -> None:
    """Exactly so without brackets."""
    assert covers(wider, narrower) == tried(wider, narrower)


@examples(150)
@given(WITH_BRACKETS, WITH_BRACKETS)
def test_what_is_covered_is_so_by_trying_all_texts(wider: str, narrower: str) -> None:
    """Brackets or not, no rule is said to hide one that it leaves something to match."""
    assert not covers(wider, narrower) or tried(wider, narrower)


def test_patterns_cover_the_whole_text_and_case_counts() -> None:
    """A name inside a longer one is another server."""
    assert matches(None, "anything")
    assert matches("chat*", "chat-8b")
    assert not matches("chat", "chat-8b")
    assert not matches("Chat*", "chat-8b")
