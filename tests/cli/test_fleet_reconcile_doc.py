"""docs/reconcile.md sets a fleet against one bill by a command that prints what the page says."""

import contextlib
import re
import shlex
import sqlite3
from pathlib import Path

import pytest

from exporter.cli import main
from tests.finance.fleet.aws_bill import story, written
from tests.finance.fleet.ledger_files import MeteredHost, october
from tests.kit.clock import clock_at
from tests.kit.units import DOLLAR, HOUR, OCTOBER

PAGE = (Path(__file__).parents[2] / "docs" / "reconcile.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## One bill for a fleet\n")[2].partition("\n## ")[0]
ARCHIVE = "/srv/archive"


def fleet(folder: Path) -> None:
    """The hosts of the page, each with the id that it has there."""
    hosts = {
        "0a6f21c4": october(folder / "i-0aaa.db", 240 * DOLLAR, "GPU-a"),
        "1b7e32d5": october(folder / "i-0bbb.db", 240 * DOLLAR, "GPU-b"),
        "2c8d43e6": MeteredHost(folder / "i-0ccc.db", "GPU-c")
        .meter(OCTOBER + 9 * 24 * HOUR, 48, 20 * DOLLAR)
        .close(),
        "3d9c54f7": MeteredHost(folder / "i-0ddd.db", "GPU-d")
        .meter(OCTOBER + 4 * 24 * HOUR, 100, 4 * DOLLAR)
        .close(),
        "4eab65a8": MeteredHost(folder / "rented.db", "GPU-r")
        .meter(OCTOBER + 200 * HOUR, 10, 3 * DOLLAR)
        .close(),
    }
    for start, path in hosts.items():
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            identifier = f"{start}-0000-4000-8000-000000000000"
            connection.execute("UPDATE meta SET value = ? WHERE key = 'ledger'", (identifier,))


def test_the_page_sets_a_fleet_against_one_bill(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the third of November."""
    monkeypatch.setattr("exporter.cli.reconcile.SystemClock", lambda: clock_at(OCTOBER + 33 * 24 * HOUR))
    monkeypatch.chdir(tmp_path)
    written(story(), Path("focus-2026-10.csv"))
    fleet(tmp_path / "archive")
    ((line, printed),) = re.findall(r"^```console\n\$ (.*)\n((?:.*\n)*?)```$", SECTION, re.MULTILINE)
    program, *words = shlex.split(line)

    assert program == "inference-cost-exporter"
    assert main([word.replace(ARCHIVE, str(tmp_path / "archive")) for word in words]) == 0
    assert capsys.readouterr().out == printed
