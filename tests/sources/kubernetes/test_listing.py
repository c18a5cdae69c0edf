"""A list of pods, and what is none."""

import json
from pathlib import Path

import pytest

from exporter.sources.kubernetes.source import ITEM_BYTES_MAX, items_of

RECORDINGS = Path(__file__).parent / "recordings"


@pytest.mark.parametrize("name", ["kubelet-pods.json", "api-pods.json"])
def test_recorded_lists_are_read_whole(name: str) -> None:
    """As Python's own reader has them."""
    body = (RECORDINGS / name).read_bytes()
    assert list(items_of(body)) == json.loads(body)["items"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"kind":"PodList","items":[]}',
        b'{"kind":"PodList","items":null}',
        b' {\n "items" : [ ],\n "kind" : "PodList" }',
    ],
)
def test_a_list_may_be_empty(body: bytes) -> None:
    """A node without pods; Go writes null for a list that nobody made."""
    assert list(items_of(body)) == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>", "JSON is malformed"),
        (b"[]", "Expected `object`"),
        (b'{"kind":"Status","code":403}', "but not with a list of pods"),
        (b'{"kind":"NodeList","items":[{}]}', "but not with a list of pods"),
        (b'{"kind":"PodList","items":{}}', "Expected `array"),
        (b"", "truncated"),
        (b'{"kind":"PodList","items":[{},', "truncated"),
        (b'{"kind":"PodList","items":[{"a":tru}]}', "JSON is malformed"),
        (b"\xff\xfe", "JSON is malformed"),
        (b'{"kind":"PodList","items":[' + b"[" * 100_000, "nests too deep"),
    ],
)
def test_what_is_no_list_is_refused(body: bytes, words: str) -> None:
    """A portal, a status, another list, one that was cut off."""
    with pytest.raises(ValueError, match=words):
        list(items_of(body))


def test_what_is_no_pod_costs_itself_alone() -> None:
    """One larger than etcd takes, one that is not text."""
    large = b'"' + b"x" * ITEM_BYTES_MAX + b'"'
    body = b'{"kind":"PodList","items":[' + large + b',"\xff",{"a":1}]}'
    assert list(items_of(body)) == [None, None, {"a": 1}]
