"""A list of pods, and what is none."""

import pytest

from exporter.sources.kubernetes.pod_object import ITEM_BYTES_MAX, PodObject, from_json


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
    assert list(from_json(body)) == []


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
        list(from_json(body))


def test_what_is_no_pod_costs_itself_alone() -> None:
    """One larger than etcd takes, two that are no objects, one whose name is not text."""
    large = b'{"a":"' + b"x" * ITEM_BYTES_MAX + b'"}'
    broken = b'"x",null,{"metadata":{"name":"\xff"}}'
    body = b'{"kind":"PodList","items":[' + large + b"," + broken + b',{"a":1}]}'
    assert list(from_json(body)) == [None, None, None, None, PodObject()]
