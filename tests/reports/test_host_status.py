"""`status` of a daemon's answer: the screen, and the answers that are refused."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from exporter.cost.postings import CostOwner
from exporter.cost.state import State
from exporter.report import Build, CommittedTotals, Report, Window
from exporter.reports.host_status import HostStatus, StatusFormError, as_json, of_daemon, of_ledger, text
from exporter.web.cost_json import document
from tests.kit.units import DOLLAR, HOUR
from tests.web.conftest import make_report

__all__ = ["make_report"]

MakeReport = Callable[..., Report]
NOW = 1000 * 10**9
BUILD = Build("0.1.0", "9e3d667", "3.11.7")


def server(number: int, **changes: Any) -> dict[str, Any]:
    """A row of servers; the first is the dearest."""
    row = {
        "namespace": "llm",
        "server": f"chat-{number}",
        "model": "llama-70b",
        "gpus": 0.5,
        "dollars_per_hour": 20.0 - number,
        "busy_ratio": 0.25,
        "dollars_per_million_tokens": 1.5,
        "up": True,
    }
    return {**row, **changes}


def gpu(**changes: Any) -> dict[str, Any]:
    """A row of GPUs."""
    return {
        "gpu_model": "NVIDIA H100 80GB HBM3",
        "count": 1,
        "up": True,
        "priced": True,
        "dollars_per_hour": 2.5,
        **changes,
    }


def answer(**changes: Any) -> bytes:
    """What a daemon of eight GPUs and two servers answers."""
    host = {
        "name": "gpu-7",
        "taken": "2026-11-25T12:00:00Z",
        "stale": False,
        "dollars_per_hour": 20.0,
        "monthly_run_rate_dollars": 14600.0,
        "month": "2026-11",
        "month_to_date_dollars": 6750.0,
        "month_projected_dollars": 9000.0,
        "budget_dollars": 27000.0,
        "gpus": [gpu()] * 7 + [gpu(up=False)],
        "servers": [server(2), server(1, up=False)],
        "sources": [{"source": "nvml", "up": True}, {"source": "server:llm/chat-1", "up": False}],
        "notes": ["Server llm/chat-1 cannot be read."],
        **changes,
    }
    return json.dumps({"version": "0.1.0", "host": host}).encode()


def test_the_screen() -> None:
    """6,750 of 27,000 dollars are 25 %, five of twenty marks; the dearest server is first."""
    assert text(of_daemon(answer(), "http://gpu-7:9844")) == (
        "gpu-7, 2026-11-25T12:00:00Z\n"
        "daemon        http://gpu-7:9844\n"
        "spend now     $20.00 per hour\n"
        "run-rate      $14,600.00 per month\n"
        "2026-11       $6,750.00 of $27,000.00 [#####...............] 25%\n"
        "month's end   $9,000.00 projected\n"
        "\n"
        "GPUs          8, 7 up, 8 priced\n"
        "     8 NVIDIA H100 80GB HBM3  $20.00/h\n"
        "\n"
        "server                   model               GPUs     $/hour  busy  $/M tokens\n"
        "llm/chat-1 DOWN          llama-70b            0.5      19.00   25%        1.50\n"
        "llm/chat-2               llama-70b            0.5      18.00   25%        1.50\n"
        "\n"
        "sources       1 of 2 up; down: server:llm/chat-1\n"
        "note: Server llm/chat-1 cannot be read.\n"
    )


def test_notes_that_are_cut_are_counted() -> None:
    """Three of their lines are shown; a note that fits ends as it is written."""
    long, short = (text(of_daemon(answer(notes=[note]), "x")).splitlines() for note in ("word " * 90, "word"))

    assert [line[:10] for line in long[-4:]] == ["note: word", "      word", "      word", "note: 1 in"]
    assert short[-1] == "note: word"


def test_what_is_not_known_has_no_unit() -> None:
    """In the first seconds; the budget is that of the configuration."""
    lines = text(of_daemon(answer(dollars_per_hour=None, month_to_date_dollars=None), "x"))

    assert "spend now     not known\n" in lines
    assert "2026-11       not known, of a budget of $27,000.00\n" in lines


def test_a_large_host_fits_the_screen() -> None:
    """Of 300 servers, models and notes, 80 columns and 23 rows are shown, and a row says how many are not."""
    name = "n" * 300
    big = answer(
        name=name,
        servers=[server(number, server=f"{name}{number}", model=name) for number in range(300)],
        gpus=[gpu(gpu_model=f"{number}{name}") for number in range(300)],
        sources=[{"source": f"server:{name}{number}", "up": False} for number in range(300)],
        notes=[f"{number} {'word ' * 60}" for number in range(300)],
    )
    lines = text(of_daemon(big, "http://gpu-7:9844")).splitlines()

    assert max(map(len, lines)) == 80
    assert len(lines) <= 23
    assert "  and 297 more models" in lines
    assert any(re.fullmatch(r"and [0-9]+ more; --json has all", line) for line in lines)
    assert any(line.endswith("more on the page") for line in lines)


def test_unallocated_time_stays_in_view() -> None:
    """It is the last row, however many servers are left out: it may be the dearest."""
    rows = [server(number) for number in range(30)]
    idle = server(0, namespace="", server="unallocated", model="", dollars_per_hour=40.0, up=None)

    lines = text(of_daemon(answer(servers=[idle, *rows]), "x")).splitlines()

    head = next(number for number, line in enumerate(lines) if line.startswith("server"))
    below = lines.index("", head)
    # 24 rows, less one for the prompt, ten above the servers with their head, and three below with a blank.
    assert below - head - 1 == 24 - 1 - 11 - 3
    assert lines[below - 2].split()[:4] == ["unallocated", "\N{EN DASH}", "0.5", "40.00"]
    assert [line.split()[0] for line in lines[head + 1 : below - 2]] == [f"llm/chat-{i}" for i in range(7)]
    assert lines[below - 1] == "and 23 more; --json has all"


def test_a_pipe_gets_every_server() -> None:
    """Without a screen there are as many rows as servers."""
    big = answer(servers=[server(number) for number in range(300)])
    lines = text(of_daemon(big, "x"), None).splitlines()

    assert sum(line.startswith("llm/chat-") for line in lines) == 300


def of_windows(**windows: Window) -> HostStatus:
    """A ledger's status, by the sums of the last hour of each server."""
    totals = CommittedTotals(
        ledger="a",
        persistent=True,
        writable=True,
        last_commit=NOW,
        residual=0,
        window={CostOwner("", "", "llm", name, ""): window for name, window in windows.items()},
    )
    return of_ledger(totals, State(), "ledger.db", "2026-11", None)


def test_spend_without_a_price_is_not_known() -> None:
    """Nothing is printed of a server with unpriced time, not even its priced part, nor of the hour."""
    status = of_windows(
        priced=Window({"busy": 2 * DOLLAR, "idle": DOLLAR}),
        free=Window({"idle": 0}),
        partly=Window({"busy": 5 * DOLLAR}, unpriced=HOUR // 4),
        unpriced=Window(unpriced=HOUR // 2),
    )

    assert {each.server: each.dollars_per_hour for each in status.servers} == {
        "llm/priced": 3.0,
        "llm/free": 0.0,
        "llm/partly": None,
        "llm/unpriced": None,
    }
    assert status.dollars_last_hour is None
    assert status.notes == ("0.75 GPU-hours of the last hour have no price.",)
    assert "last hour     not known\n" in text(status)
    assert "note: 0.75 GPU-hours of the last hour have no price.\n" in text(status)


def test_tokens_alone_are_no_spend() -> None:
    """A server that only counted tokens costs nothing known; the hour is that of the others."""
    tokens = Window(tokens={"generation": 7})

    status = of_windows(priced=Window({"busy": 2 * DOLLAR}), counted=tokens)
    assert [(each.server, each.dollars_per_hour) for each in status.servers] == [
        ("llm/priced", 2.0),
        ("llm/counted", None),
    ]
    assert (status.dollars_last_hour, status.notes) == (2.0, ())
    assert of_windows(counted=tokens).dollars_last_hour is None


def test_what_the_page_serves_is_understood(make_report: MakeReport) -> None:
    """The answer of this release itself, fresh and stale; unknown figures stay unknown."""
    report = make_report()
    fresh = of_daemon(document(report, NOW, BUILD), "x")
    stale = of_daemon(document(report, 1031 * 10**9, BUILD), "x")

    assert fresh.dollars_per_hour is not None
    assert sum(each.gpus for each in fresh.gpus) == sum(row.count for row in report.gpus)
    assert fresh.sources == {row.source: row.up for row in report.sources}
    assert stale.dollars_per_hour is None
    assert "spend now     not known\n" in text(stale)
    assert json.loads(as_json(stale))["dollars_per_hour"] is None


def test_no_control_character_reaches_the_terminal() -> None:
    """A name from outside cannot move the cursor."""
    assert of_daemon(answer(name="a\x1b[2Jb"), "x").host == "a?[2Jb"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"<html>", "JSON is malformed"),
        (b"[" * 100_000, "got `array`"),
        (b'{"other": ' + b"[" * 100_000, "recursion"),
        (b"[]", "got `array`"),
        (b"{}", "field `host`"),
        (b'{"host": null}', "has no figures before the first tick; try again in a few seconds"),
        (answer(stale="no"), "got `str` - at `$.host.stale`"),
        (answer(dollars_per_hour="20"), "got `str` - at `$.host.dollars_per_hour`"),
        (answer(dollars_per_hour=True), "got `bool` - at `$.host.dollars_per_hour`"),
        (answer(dollars_per_hour=10**400), "out of range - at `$.host.dollars_per_hour`"),
        (answer(dollars_per_hour=float("nan")), "JSON is malformed"),
        (answer(servers={}), "got `object` - at `$.host.servers`"),
        (answer(servers=[1]), "got `int` - at `$.host.servers[0]`"),
        (answer(servers=[server(1, up=1)]), "got `int` - at `$.host.servers[0].up`"),
        (answer(gpus=[gpu(count=0.5)]), "at `$.host.gpus[0].count`"),
        (answer(gpus=[gpu(count=-1)]), "at `$.host.gpus[0].count`"),
        (answer(notes=[""] * 10_001), "at `$.host.notes`"),
        (answer(sources=[{"source": "nvml"}]), "field `up` - at `$.host.sources[0]`"),
    ],
)
def test_another_answer_is_refused(body: bytes, problem: str) -> None:
    """Each with the key that is wrong."""
    with pytest.raises(StatusFormError) as caught:
        of_daemon(body, "x")

    assert problem in str(caught.value)
