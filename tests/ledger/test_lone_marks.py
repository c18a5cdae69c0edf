"""Marks of a host or an endpoint of which nothing else is known."""

import json

import pytest

from exporter.cost.state import State
from exporter.ledger import marks

URL = "http://127.0.0.1:8000/metrics"


def test_the_boot_of_a_host_whose_gpus_are_all_gone_is_remembered() -> None:
    """By the boot alone a later start knows that the host has GPUs, and meters it."""
    rows = [(scope.kind, scope.key, text) for scope, text in marks.texts(State(listed_in="boot-0")).items()]

    assert marks.state_of(rows) == (State(listed_in="boot-0"), ())


@pytest.mark.parametrize("page", ["marks", "own"])
def test_marks_of_either_page_of_an_endpoint_are_checked(page: str) -> None:
    """A candidate of -1 reads would wait for ever."""
    text = json.dumps({"key": ["llm", "chat"], "watched_since": 1, page: {"candidate": {"reads": -1}}})
    state, dropped = marks.state_of([("endpoint", URL, text)])

    assert state.endpoints == {}
    assert "reads is a count of -1" in dropped[0]
