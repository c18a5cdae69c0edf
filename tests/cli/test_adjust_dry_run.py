"""`adjust --dry-run` says what would be posted, refuses what would be refused, and enters nothing."""

import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.cli import main
from exporter.cli.adjust import AdjustFlags, adjust
from exporter.ledger.ledger import Ledger
from tests.cli.test_adjust import INVOICE, NOW, Host, amounts, flags, host
from tests.kit.clock import clock_at

__all__ = ["flags", "host"]


@pytest.fixture
def dry(flags: AdjustFlags) -> AdjustFlags:
    """What finance would try first."""
    return replace(flags, dry_run=True)


def dump(path: Path) -> list[str]:
    """All that the file holds."""
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def test_it_says_what_would_be_and_the_books_are_as_they_were(
    host: Host, dry: AdjustFlags, capsys: pytest.CaptureFixture[str]
) -> None:
    """The month has a dollar of November; October would be 12.34 below zero, by a day before the ledger's."""
    before = dump(host.path)
    assert adjust(dry, clock_at(NOW)) == 0
    captured = capsys.readouterr()

    assert captured.out == (
        f"{host.path}: nothing is entered; without --dry-run adjustment 1 would be: -12.34 dollars, "
        f'2026-10-31, product chat, team assistants: "{INVOICE}"\n'
        f"The daemon (process {os.getpid()}) would post it at its next tick.\n"
        "With all that waits, 2026-10 would then come to -12.34 dollars, product chat to -12.34.\n"
    )
    assert captured.err == (
        "warning: 2026-10 would be below zero for product chat and all products\n"
        "warning: 2026-10-31 is before 2026-11-01, the first day that this ledger metered\n"
    )
    assert dump(host.path) == before
    host.tick()
    assert amounts(host.path) == []


def test_without_a_daemon_the_next_one_would(
    host: Host, dry: AdjustFlags, capsys: pytest.CaptureFixture[str]
) -> None:
    """At its first tick; a daemon that then opens the ledger finds nothing to post."""
    host.ledger.close()
    assert adjust(dry, clock_at(NOW)) == 0
    assert capsys.readouterr().out.splitlines()[1] == "The next daemon would post it at its first tick."
    host.ledger = Ledger.open(host.path, clock_at(NOW))
    assert amounts(host.path) == []


def test_what_would_be_refused_is_refused(
    host: Host, dry: AdjustFlags, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the same words and with the same exit code: an amount, a product, a repetition, a missing ledger."""
    assert adjust(replace(dry, dry_run=False), clock_at(NOW)) == 0
    tried = (
        replace(dry, amount="0"),
        replace(dry, product="chta"),
        dry,
        replace(dry, ledger_path=host.path.parent / "none.db"),
    )
    capsys.readouterr()
    for each in tried:
        results = [adjust(replace(each, dry_run=run), clock_at(NOW)) for run in (True, False)]
        captured = capsys.readouterr()
        half = len(captured.err) // 2
        assert results[0] == results[1] != 0
        assert captured.err[:half] == captured.err[half:]
        assert captured.out == ""
    assert amounts(host.path) == [-12_340_000_000_000]


def test_from_the_command_line(
    host: Host, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flag reaches it."""
    monkeypatch.setattr("exporter.cli.adjust.SystemClock", lambda: clock_at(NOW))
    arguments = ["--amount=5", "--date=2026-11-01", "--product=chat", "--reason=why", "--dry-run"]
    assert main(["adjust", *arguments, f"--ledger.path={host.path}"]) == 0
    assert "With all that waits, 2026-11 would then come to 6.00 dollars" in capsys.readouterr().out
    assert amounts(host.path, "2026-11") == []
