"""A month that is closed while its daemon is down: what comes when it is back, in money and in tokens.

The GPU costs 3.60 dollars an hour and serves 100 tokens a second throughout.
"""

import json
from pathlib import Path

import pytest

from exporter.cli.report import MonthOptions, report_month
from exporter.finance.render import Form
from tests.corners.test_first_minutes import ServingHost, serving
from tests.kit.units import DOLLAR, HOUR, SECOND


def compared(host: ServingHost, statement: Path, *, as_json: bool) -> int:
    form: Form = "json" if as_json else "table"
    options = MonthOptions(host.file, host.path, form=form, against=statement)
    return report_month(options, host.clock)


def test_tokens_of_a_gap_over_the_end_are_listed_with_its_money(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Down from 18:00 of the last day, closed at 06:00 with a cent and 1,000 tokens, back at once.

    Six hours of November are 21.60 dollars and 2,160,000 tokens.
    """
    statement = tmp_path / "2026-11.json"
    host = serving(tmp_path, "2026-11-30T17:59:50+00:00")
    host.tick(10 * SECOND)
    host.restart(12 * HOUR)
    options = MonthOptions(host.file, host.path, "2026-11", close=True, output=statement)
    assert report_month(options, host.clock) == 0
    assert "2026-11 is closed: 0.01 dollars of 1 ledger" in capsys.readouterr().out
    host.tick()

    assert compared(host, statement, as_json=True) == 0
    (change,) = json.loads(capsys.readouterr().out)["changes"]
    assert (change["kind"], change["product"], change["picodollars"]) == (
        "posted",
        "unassigned",
        21 * DOLLAR + 60 * DOLLAR // 100,
    )
    assert [change[f"{kind}_tokens"] for kind in ("prompt", "cached_prompt", "generation")] == [
        *(0, 0),
        2_160_000,
    ]
    assert compared(host, statement, as_json=False) == 0
    printed = capsys.readouterr().out
    detail = "(unassigned, unassigned): posted since the month was closed: 2,160,000 generation tokens"
    assert detail in printed
    assert printed.endswith("\n2026-11 is 21.61 dollars now.\n")
