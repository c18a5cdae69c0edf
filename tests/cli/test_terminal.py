"""Colors and progress are for people on a terminal; a file and a pipe get the words alone."""

import io
import sys
import threading
from dataclasses import dataclass, field

import pytest

from exporter.cli import terminal
from exporter.units import NANOSECONDS_PER_SECOND as SECOND
from tests.kit.clock import ManualClock, clock_at

ANSWER = "ok: ice.yaml\nFindings\n  error: no price\n  warning: an estimate\nnote: the default budget\n"
COLORED = (
    "\x1b[32mok\x1b[0m: ice.yaml\nFindings\n  \x1b[31merror\x1b[0m: no price\n"
    "  \x1b[33mwarning\x1b[0m: an estimate\n\x1b[33mnote\x1b[0m: the default budget\n"
)


class Screen(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _neither_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)


def written(stream: io.StringIO) -> str:
    terminal.write_colored(ANSWER, stream)
    return stream.getvalue()


def test_a_terminal_shows_how_grave_a_line_is() -> None:
    """The first word of a line has a color, nothing else."""
    assert written(Screen()) == COLORED


def test_a_pipe_gets_words_alone() -> None:
    """Whoever reads it finds what was written."""
    assert written(io.StringIO()) == ANSWER


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_whoever_wants_no_color_gets_none(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """https://no-color.org, and terminals that know none."""
    monkeypatch.setenv(name, value)

    assert written(Screen()) == ANSWER


def test_an_empty_no_color_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As its specification says: present and not an empty string."""
    monkeypatch.setenv("NO_COLOR", "")

    assert written(Screen()) == COLORED


def test_a_problem_is_red_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line ends after the color does."""
    screen = Screen()
    monkeypatch.setattr("sys.stderr", screen)
    terminal.complain("no such month")

    assert screen.getvalue() == "\x1b[31mno such month\x1b[0m\n"


@dataclass
class Turned(ManualClock):
    """A clock whose waits end at once; what is waited for is done after so many."""

    waits: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def wait(self, stop: threading.Event, duration: int) -> bool:
        if len(self.waited) < self.waits:
            return super().wait(stop, duration)
        self.over.set()
        return stop.wait()


def waited(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, waits: int) -> str:
    monkeypatch.setattr("sys.stderr", stream)
    clock = Turned(waits=waits)
    with terminal.waiting("reading the bill", clock):
        assert not stream.isatty() or clock.over.wait(30)
    return stream.getvalue()


def test_what_takes_longer_than_two_seconds_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """After two seconds, then each second; the line is gone before the answer comes."""
    clear = "\r\x1b[K"

    assert waited(monkeypatch, Screen(), 3) == (
        f"{clear}reading the bill: 2 s{clear}reading the bill: 3 s{clear}reading the bill: 4 s{clear}"
    )


def test_what_is_quick_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that flashes is noise."""
    assert waited(monkeypatch, Screen(), 0) == ""


def test_a_pipe_sees_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """It finds the answer alone."""
    assert waited(monkeypatch, io.StringIO(), 3) == ""


def test_two_seconds_are_the_promise() -> None:
    """What the docs say."""
    assert terminal.PROGRESS_AFTER == 2 * SECOND


def shown(steps: int) -> str:
    """What a bar of ten prints in so many steps of a second."""
    with terminal.ProgressBar("reading ledgers", clock_at(0, step=SECOND)) as bar:
        for done in range(steps):
            bar.show(done, 10)
    return sys.stderr.getvalue()  # type: ignore[attr-defined]


def test_a_bar_appears_after_two_seconds_and_is_gone_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal."""
    monkeypatch.setattr("sys.stderr", Screen())

    assert shown(5) == (
        "\r\x1b[Kreading ledgers [###...........................] 1 of 10"
        "\r\x1b[Kreading ledgers [######........................] 2 of 10"
        "\r\x1b[Kreading ledgers [#########.....................] 3 of 10"
        "\r\x1b[Kreading ledgers [############..................] 4 of 10"
        "\r\x1b[K"
    )


@pytest.mark.parametrize(("steps", "lines"), [(9, ""), (10, "reading ledgers: 9 of 10\n")])
def test_elsewhere_a_line_is_written_every_ten_seconds(
    steps: int, lines: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log has no bar."""
    monkeypatch.setattr("sys.stderr", io.StringIO())

    assert shown(steps) == lines


NARROW = (
    "  0  NVIDIA H100  held by chat\n",
    "       rent          3.875000 dollars per hour   ESTIMATE: median list price of four vendors\n",
    "  warning: 8 GPUs have no price since the rule of hardware[0] matches none\n",
    "    inference-cost-exporter adjust --month=2026-10 --dollars=-12.50 --reason='credit of the cloud'\n",
    "a-word-that-is-longer-than-any-line-of-this-terminal-and-has-1234567.89-in-it\n",
)
FITTED = (
    "  0  NVIDIA H100  held by chat\n",
    (
        "       rent          3.875000 dollars per hour\n"
        "                     ESTIMATE: median list price of four\n"
        "                     vendors\n"
    ),
    "  warning: 8 GPUs have no price since the rule of\n      hardware[0] matches none\n",
    NARROW[3],
    NARROW[4],
)


@pytest.mark.parametrize(("line", "expected"), [*zip(NARROW, FITTED, strict=True)])
def test_a_long_line_goes_on_below_its_last_column(line: str, expected: str) -> None:
    """At blanks, so that no number and no name is cut; calls of the program stay whole."""
    assert terminal.fitted(line, 56) == expected
    assert line.split() == expected.split()


def test_a_file_and_a_pipe_get_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """For grep and diff; also where the environment names a width."""
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setattr("sys.stdout", io.StringIO())

    assert terminal.columns() is None
    assert terminal.fitted(NARROW[1], terminal.columns()) == NARROW[1]


def test_a_terminal_of_few_columns_has_forty() -> None:
    """Less breaks every line."""
    assert terminal.fitted(f"{'ab ' * 14}\n", 5) == f"{'ab ' * 12}ab\n    ab\n"
