"""A list of pods that comes in pieces."""

import json
from pathlib import Path
from typing import Any

import pytest

from exporter.sources.kubernetes.source import ITEM_CHARACTERS_MAX, NotAListError, PodListing

RECORDINGS = Path(__file__).parent / "recordings"
SMALL = (
    '{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7"},'
    '"items":[{"a":"]}é,"},{"b":[1,{}]} , {}]}\n'
).encode()


def listed(body: bytes, size: int) -> list[Any]:
    listing = PodListing()
    items = []
    for start in range(0, len(body), size):
        items += listing.feed(body[start : start + size])
    return items + listing.end()


@pytest.mark.parametrize("size", range(1, len(SMALL) + 1))
def test_pieces_of_any_size_give_the_same(size: int) -> None:
    """Also those that cut a character in two; brackets in texts end nothing."""
    assert listed(SMALL, size) == [{"a": "]}é,"}, {"b": [1, {}]}, {}]


@pytest.mark.parametrize("name", ["kubelet-pods.json", "api-pods.json"])
@pytest.mark.parametrize("size", [100, 4096, 1 << 20])
def test_recorded_lists_are_given_whole(name: str, size: int) -> None:
    """As Python's own reader has them."""
    body = (RECORDINGS / name).read_bytes()
    assert listed(body, size) == json.loads(body)["items"]


def test_a_pod_is_given_before_the_list_has_ended() -> None:
    """What was given is held no longer."""
    listing = PodListing()
    assert listing.feed(SMALL[: SMALL.index(b',{"b"') + 1]) == [{"a": "]}é,"}]
    assert listing._text == ""


@pytest.mark.parametrize(
    "body",
    [
        b'{"kind":"PodList","items":[]}',
        b'{"kind":"PodList","items":null}',
        b' {\n "kind" : "PodList" ,\n "items" : [ ] }',
        b'{"kind":"PodList","items":[],"more":',
    ],
)
def test_a_list_may_be_empty(body: bytes) -> None:
    """A node without pods; Go writes null for a list that nobody made. What comes after it is not read."""
    assert listed(body, 7) == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>", "but not with JSON"),
        (b"[]", "but not with JSON"),
        (b'{"kind"="PodList"}', "but not with JSON"),
        (b'{"kind":"PodList","items":[{}}', "but not with JSON"),
        (b'{"kind":"Status","code":403}', "but not with a list of pods"),
        (b'{"kind":"NodeList","items":[{}]}', "but not with a list of pods"),
        (b'{"items":[{}],"kind":"PodList"}', "but not with a list of pods"),
        (b'{"kind":"PodList","items":{}}', "but not with a list of pods"),
        (b"", "not with a whole list of pods"),
        (b'{"kind":"PodList","items":[{}', "not with a whole list of pods"),
        (b'{"kind":"PodList","items":[{},', "not with a whole list of pods"),
        (b'{"kind":"PodList","items":[{"a":tru}]}', "not with a whole list of pods"),
        (b"\xff\xfe", "not with text"),
        (b'{"kind":"PodList","items":[' + b"[" * 100_000, "but what it says has no end"),
    ],
)
def test_what_is_no_list_is_refused(body: bytes, words: str) -> None:
    """A portal, a status, another list, one that was cut off."""
    with pytest.raises(NotAListError, match=words):
        listed(body, 1 << 20)


def test_a_pod_that_never_ends_is_given_up() -> None:
    """At twice the largest that there may be, in the worst case."""
    listing = PodListing()
    listing.feed(b'{"kind":"PodList","items":[{"a":"')
    fed = 0

    def feed() -> None:
        nonlocal fed
        while fed < 1 << 26:
            fed += 1 << 18
            listing.feed(b"x" * (1 << 18))

    with pytest.raises(NotAListError, match="has no end"):
        feed()
    assert fed <= 2 * ITEM_CHARACTERS_MAX + (1 << 18)
