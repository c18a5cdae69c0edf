"""Ports of programs that tests start: nobody else of the same run gets them."""

import pytest

from tests.e2e import daemon


def test_no_port_is_given_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by one process of `pytest -n` nor by two."""
    ports = []
    for worker in ("gw0", "gw1", "gw7"):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
        monkeypatch.setattr(daemon, "given", set())
        ports += [daemon.free_port() for _ in range(100)]

    assert len(set(ports)) == 300
    assert all(port in daemon.PORTS for port in ports)


def test_a_port_that_was_given_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though nothing listens on it: its program may have stopped to start again."""
    monkeypatch.setattr(daemon, "given", {12_000})
    tried = iter([12_000, 12_016])
    monkeypatch.setattr(daemon.secrets, "choice", lambda _: next(tried))

    assert daemon.free_port() == 12_016
