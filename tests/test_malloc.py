"""Memory that glibc keeps: what is asked of it, and a system without it."""

import ctypes
from collections.abc import Callable

import pytest

from exporter import malloc


class Library:
    """A C library that notes its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def mallopt(self, parameter: int, value: int) -> int:
        self.calls.append(("mallopt", parameter, value))
        return 1

    def malloc_trim(self, pad: ctypes.c_size_t) -> int:
        assert type(pad) is ctypes.c_size_t
        self.calls.append(("malloc_trim", pad.value))
        return 1


def test_options_and_a_trim(monkeypatch: pytest.MonkeyPatch) -> None:
    """mallopt(3) takes one arena and thresholds, malloc_trim(3) a size_t of no bytes to keep."""
    library = Library()
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)

    malloc.make_lean()
    malloc.trim()

    options = [("mallopt", -8, 1), ("mallopt", -3, 2**19), ("mallopt", -1, 2**20), ("mallopt", -2, 2**16)]
    assert library.calls == [*options, ("malloc_trim", 0)]


@pytest.mark.parametrize(("work", "name"), [(malloc.make_lean, "mallopt"), (malloc.trim, "malloc_trim")])
@pytest.mark.parametrize("loads", [True, False])
def test_a_system_without_glibc(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    work: Callable[[], None],
    name: str,
    *,
    loads: bool,
) -> None:
    """Nothing is done, and it is logged for who looks for it."""

    def load(_: object) -> object:
        if not loads:
            raise OSError("no such library")
        return object()

    monkeypatch.setattr(ctypes, "CDLL", load)
    with caplog.at_level("DEBUG"):
        work()

    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("DEBUG", "this C library keeps freed memory")
    assert vars(record)["function"] == name
