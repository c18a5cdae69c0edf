"""Everything that the demo says was planted is found where it says, by the commands that it prints.

They are run by a shell as a reader would paste them, beside a demo that serves. The verbs go by the host's
clock, so the demo does, too; what they must say is worked out from the timeline.
"""

import csv
import hashlib
import html
import io
import json
import logging
import re
import sqlite3
import subprocess
import sys
import threading
import urllib.request
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

import pytest

from exporter.cli.demo import logged_to
from exporter.clock import SystemClock
from exporter.demo.banner import LOG, Site, banner, events
from exporter.demo.daemon import DemoDaemon, replay
from exporter.demo.timeline import Timeline, day
from exporter.report import Build, Report
from exporter.web.server import WebServer
from exporter.web.wording import timestamp
from tests.sampler.sampler_fixture import FakeProcessMetrics

pytestmark = [pytest.mark.xdist_group("story"), pytest.mark.timeout(600)]  # a busy machine

BUILD: Final = Build("0", "", "3")
PROGRAM: Final = f"{sys.executable} -m exporter"
CURL: Final = f"""curl() {{ {sys.executable} -c '
import sys, urllib.request
sys.stdout.write(urllib.request.urlopen(sys.argv[2]).read().decode())' "$@"; }}
"""
"""What `curl -s URL` does; not every machine has it."""
END: Final = "---- end of an answer ----"


@dataclass(frozen=True, slots=True)
class DemoRun:
    """What the demo said, and what each of its commands answered."""

    timeline: Timeline
    report: Report
    words: str
    site: Site
    answers: dict[str, str]
    page: str
    servers: dict[str, dict[str, Any]]
    """Those of `/cost.json` by name."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    folder = tmp_path_factory.mktemp("demo")
    daemon = DemoDaemon(SystemClock(), FakeProcessMetrics(()), BUILD, folder=folder)
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.INFO)
    try:
        with logged_to(folder / LOG, daemon.clock):
            replay(daemon)
    finally:
        logging.getLogger().setLevel(level)
    report = daemon.sampler.tick()
    stop = threading.Event()
    ticking = threading.Thread(target=daemon.sampler.run, args=(stop,))
    ticking.start()
    web = WebServer("127.0.0.1:0", daemon.current, daemon.clock, None, BUILD)
    web.start()
    site = Site(web.url.rstrip("/"), str(folder), PROGRAM)
    words = banner(site, report, daemon.timeline)
    (function,) = re.findall(r"^  (demo\(\) .*)$", words, re.MULTILINE)
    assert events(daemon.timeline, site) in words
    commands = [command for fact in facts(words).values() for command in fact[1:]]
    script = f"{CURL}\n{function}\n" + "".join(f"{command}; echo '{END}'\n" for command in commands)
    try:
        ran = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=480, check=True)
        with urllib.request.urlopen(web.url) as answer:  # noqa: S310  # our own
            page = answer.read().decode()
        with urllib.request.urlopen(f"{site.url}/cost.json") as answer:  # noqa: S310  # our own
            lines = json.load(answer)["host"]["servers"]
    finally:
        web.close()
        stop.set()
        ticking.join()
        daemon.close()
    answers = ran.stdout.split(f"{END}\n")
    assert ran.stderr == ""
    servers = {line["server"]: line for line in lines}
    return DemoRun(
        daemon.timeline, report, words, site, dict(zip(commands, answers, strict=False)), page, servers
    )


def facts(words: str) -> dict[str, list[str]]:
    """The planted events by title, each with its description and its commands."""
    paragraphs = re.findall(r"^  [0-9]\. (.*?)\. (.*\n(?:       .*\n)+)", words, re.MULTILINE)
    return {title: [line.strip() for line in lines.splitlines()] for title, lines in paragraphs}


def shown(demo: DemoRun, title: str) -> tuple[str, ...]:
    """What the commands of one fact answered."""
    return tuple(demo.answers[command] for command in facts(demo.words)[title][1:])


def test_every_hour_that_served_has_tokens(demo: DemoRun) -> None:
    """All hours of the five weeks but those of the lost host; from each of the four servers."""
    hour, timeline = 3600 * 10**9, demo.timeline
    with closing(sqlite3.connect(f"file:{demo.site.folder}/ledger.db?mode=ro", uri=True)) as ledger:
        rows = ledger.execute(
            "SELECT hour, server FROM hourly_tokens JOIN owner ON owner.id = hourly_tokens.owner "
            "WHERE count > 0"
        ).fetchall()
    served = {number for number, _ in rows}

    away = set(range(timeline.lost // hour, timeline.returned // hour))
    assert set(range(timeline.begins // hour, timeline.now // hour)) - served == away
    assert len({server for _, server in rows}) == 4


def test_the_wasted_model(demo: DemoRun) -> None:
    """Of a day's 24 GPU-hours, and those of this hour so far, each was idle; no price per token.

    Nor is it told how busy time would be split.
    """
    (explained,) = shown(demo, "one model is wasted")

    assert re.search(
        r"^      idle +1[34]\d\.\d{6} dollars +100\.0% +2[45]\.\d{4} GPU-hours$", explained, re.MULTILINE
    )
    assert (
        f"    served no token since {timestamp(demo.timeline.deserted)}\n    no price per token" in explained
    )
    assert "now split" not in explained
    assert "archive-13b" in demo.page


def test_the_wasted_model_tells_its_last_token(demo: DemoRun) -> None:
    """Since when it serves nobody is told to the second, and on the page in days; the others serve now."""
    deserted = demo.timeline.deserted
    description = facts(demo.words)["one model is wasted"][0]
    last = {name: line["last_token"] for name, line in demo.servers.items()}

    assert last["archive-13b"] == timestamp(deserted)
    assert description.endswith(f" since {last['archive-13b'][:10]} {last['archive-13b'][11:16]}.")
    (row,) = re.findall(
        r"<tr data-by[^>]*>(?:(?!</tr>).)*archive-13b(?:(?!</tr>).)*</tr>", demo.page, re.DOTALL
    )[:1]
    days = (demo.report.wall - deserted) // (86_400 * 10**9)
    assert days >= 2
    assert f">{days} d ago<" in row
    lately = timestamp(demo.report.wall - 3600 * 10**9)
    assert sorted(name for name, at in last.items() if at is not None and at > lately) == [
        "chat-70b",
        "search-8b",
        "trial-8b",
    ]


def test_the_wasted_model_is_a_saving(demo: DemoRun) -> None:
    """730 hours of 44.032 / 8 dollars, on the first page that is served; the host is rented whole."""
    assert demo.report.savings is not None
    (finding,) = (each for each in demo.report.savings.findings if each.server.server == "archive-13b")

    assert (finding.kind, finding.obstacle, finding.per_month) == ("deserted", "host", 4_017_920_000_000_000)
    assert "served nothing for" in demo.page
    assert re.search(r">\$4,017\.92</strong>\s+a month", demo.page)


def test_the_price_that_rose(demo: DemoRun) -> None:
    """The configuration tells both prices; an hour of the last month costs less than one of now."""
    configured, explained = shown(demo, "a price rose")

    assert f"(dollars_per_hour 44.032, gpus 8, since {day(demo.timeline.repriced)}" in configured
    assert "4 x NVIDIA H100 80GB HBM3 rent x 5.504000 = 22.016000" in explained
    mean = re.search(r"GPU-hours = (\d\.\d+) dollars per GPU-hour", explained)
    assert mean is not None
    # Between the rent before with network and storage, and the rent of now with them.
    assert 4.816 + 0.14 < float(mean[1]) < 5.504 + 0.13


def test_the_server_of_nobody(demo: DemoRun) -> None:
    """The month has dollars that no team owes, and trial-8b is among them."""
    by_team, metrics = shown(demo, "a server has no owner")

    assert re.search(r"^unassigned +[\d,]+\.\d\d", by_team, re.MULTILINE)
    assert re.fullmatch(
        r'inference_cost_dollars_per_hour{.*product="unassigned",server="trial-8b".*} 5\.6\d+\n?', metrics
    )


def test_the_spot_node_that_was_lost(demo: DemoRun) -> None:
    """5.5 hours and the daemon's minute: 1.10 + 73.6 / hours of the month an hour, and 70 s of rent."""
    log, metrics = shown(demo, "a spot node was lost")

    (line,) = log.splitlines()
    assert f"since={day(demo.timeline.lost)}T03:00:00+00:00 hours=5.52" in line
    assert 'not_charged="hourly rent of 5.50 hours while the host was down or suspended"' in line
    dollars = float(line.split("dollars=")[1].split()[0])
    assert dollars == pytest.approx(5.5167 * (1.10 + 73.6 / 730) + 44.032 * 70 / 3600, abs=0.06)
    counted = [float(row.split()[-1]) for row in metrics.splitlines() if "_cost_dollars_total{" in row]
    assert sum(counted) == pytest.approx(dollars, abs=0.01)


def test_the_gpu_that_had_no_price_for_a_day(demo: DemoRun) -> None:
    """24 GPU-hours at 4.816 dollars were charged when the price came."""
    log, by_gpu, metrics = shown(demo, "a GPU had no price for a day")

    (line,) = log.splitlines()
    assert 'gpu_hours=24.0000 dollars=115.58 by_server="unallocated 115.58" gpu_hours_waiting=0.0000' in line
    assert line.startswith(f"ts={day(demo.timeline.corrected)}T09:0")  # when it was put right
    assert re.search(
        r"^24\.0000 of [\d,]+\.\d{4} GPU-hours were charged when their price came\.$", by_gpu, re.MULTILINE
    )
    (row,) = metrics.splitlines()
    assert row.endswith(" 86400.0")
    assert 'uuid="GPU-de300000-0000-4000-8000-000000000007"' in row


def test_the_server_that_was_restarted(demo: DemoRun) -> None:
    """Its endpoint was gone and came back, and its total is above what the new process can have served."""
    log, metrics = shown(demo, "a server was restarted")

    assert [line.split(" level")[1].split(" source")[0] for line in log.splitlines()] == [
        '=warning msg="source failed"',
        '=info msg="source recovered"',
    ]
    total = re.search(r'kind="generation".*server="chat-70b".*} (\S+)$', metrics, re.MULTILINE)
    assert total is not None
    # 7 hours of at most 6 requests a second of 340 tokens.
    assert float(total[1]) > 6 * 340 * 7 * 3600


def test_days_and_weeks(demo: DemoRun) -> None:
    """The chat's GPUs are idle for more of their time on each day of a weekend than on any other day.

    Compared are whole days that were watched from end to end.
    """
    (focus,) = shown(demo, "days and weeks differ")

    by_day: dict[date, dict[str, float]] = {}
    for row in csv.DictReader(io.StringIO(focus)):
        if row["x_Server"] == "chat-70b" and row["ConsumedUnit"] == "GPU-Hours":
            phases = by_day.setdefault(date.fromisoformat(row["ChargePeriodStart"][:10]), {})
            phases[row["x_Phase"]] = phases.get(row["x_Phase"], 0.0) + float(row["ConsumedQuantity"])
    whole = {at: of for at, of in by_day.items() if sum(of.values()) > 95.9 and not of.get("unobserved")}
    idle = {at: of["idle"] / sum(of.values()) for at, of in whole.items()}
    weekends = [share for at, share in idle.items() if at.weekday() >= 5]
    others = [share for at, share in idle.items() if at.weekday() < 5]
    assert len(weekends) + len(others) >= 5
    assert not weekends or min(weekends) > max(others) + 0.05


def test_the_month_ends_past_the_budget(demo: DemoRun) -> None:
    """The words, the page and the figures agree that it does."""
    month = next(iter(demo.report.month_ends))
    end = sum(amount for (_, name), amount in demo.report.projected.items() if name == month)

    assert end > 27_000
    assert f"Forecast: ${end:,.2f} (budget $27,000).\n" in demo.words
    assert "over the fleet's budget of $27,000" in html.unescape(demo.page)


def test_the_words_name_every_path(demo: DemoRun) -> None:
    """Paths are those of the server, figures those of the page: 1.10 and 8 x 9.20 by the month's hours."""
    assert set(re.findall(rf"{demo.site.url}(\S*) ", demo.words)) >= {"/", "/metrics", "/cost.json"}
    assert "It rents for 44.03 dollars an hour, plus 1.20 for network and storage.\n" in demo.words
    # 536,000 dollars a year of 8766 hours
    assert "Staff ($61.15 an hour, fleet-wide) is not included in these host figures.\n" in demo.words


def test_the_readme_shows_what_is_said(demo: DemoRun) -> None:
    """Its excerpt is of a real run: the same lines, other numbers and days; what is left out is marked."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (excerpt,) = re.findall(r"^```\n(A simulated host .*?)^```$", readme, re.DOTALL | re.MULTILINE)

    def numberless(text: str) -> str:
        return re.sub(r"[\d,.]*\d", "N", text)

    words = numberless(demo.words)
    begin, end = numberless(excerpt).split("...\n")
    assert words.lstrip().startswith(begin)
    assert (begin.count("\n"), end) == (4, "")


def test_what_is_in_force_is_the_file_of_the_folder(demo: DemoRun) -> None:
    """By hash, as a rollout is checked: that of the page, of `check-config` and of the file's bytes agree."""
    (configured, _) = shown(demo, "a price rose")
    digest = hashlib.sha256((Path(demo.site.folder) / "demo.yaml").read_bytes()).hexdigest()

    assert f"sha256: {digest}\n" in configured
    assert demo.report.config.hash == digest
