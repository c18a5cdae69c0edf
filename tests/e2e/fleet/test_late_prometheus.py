"""`report month --from=ADDRESS` where samples or rules are younger than the month: whole, or it says so."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from exporter.tariff.calendar import month_before, month_of
from tests.e2e.daemon import ROOT, free_port, until
from tests.e2e.fleet.compression import prometheus as configuration
from tests.e2e.fleet.compression import rule_files
from tests.e2e.fleet.history import Sample, blocks
from tests.e2e.fleet.programs import FleetPrometheus
from tests.e2e.fleet.test_books import END, MONTH, NOW, START
from tests.kit.units import SECOND

pytestmark = [pytest.mark.xdist_group("fleet-books"), pytest.mark.timeout(300)]

HOUR, DAY = 3600, 86_400
DEAD, LIVE = "11111111-dead", "00000000-live"


def report(address: str, month: str = MONTH.name) -> dict[str, object]:
    """The fleet's month by the real command line."""
    command = [sys.executable, "-m", "exporter", "report", "month", f"--from={address}", f"--month={month}"]
    done = subprocess.run(
        [*command, "--json"], capture_output=True, text=True, check=False, timeout=120, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    document: dict[str, object] = json.loads(done.stdout)
    return document


def figures(document: dict[str, object]) -> tuple[float, list[tuple[str, str, str | None]]]:
    """Its dollars, and what is missing."""
    total, missing = document["total"], document["missing"]
    assert isinstance(total, dict)
    assert isinstance(missing, list)
    return total["dollars"], [(each["kind"], each["host"], each["time"]) for each in missing]


def host(ledger: str, month: str, dollars: float, times: range, *, ends: int, begin: int) -> Iterator[Sample]:
    """What one host exports: its month, which grows evenly, and when that begins and ends."""
    target = f'cluster="east",instance="{ledger}:9844",node="{ledger}"'
    owner = 'product="chat",team="a",price_basis="configured"'
    for at in times:
        grown = dollars * min(1.0, (at - times.start) / (min(times[-1], ends) - times.start))
        cell = f'ledger="{ledger}",month="{month}",{owner}'
        yield f"inference_month_to_date_dollars{{{cell},{target}}}", grown, at
        yield f'inference_month_end_timestamp_seconds{{{target},month="{month}"}}', float(ends), at
        since = f'inference_month_metered_since_timestamp_seconds{{{target},month="{month}"}}'
        yield since, float(begin), at


def memory(loaded: int, now: int) -> Iterator[Sample]:
    """What the rules remember each hour of the living host from their loading on."""
    for at in range(loaded, now + 1, HOUR):
        cell = f'ledger="{LIVE}",month="{MONTH.name}",product="chat",team="a",price_basis="configured"'
        yield f"inference:month_to_date_dollars:posting_hourly{{{cell}}}", 0.01, at
        ends = f'inference:month_end_timestamp_seconds_hourly{{cluster="east",month="{MONTH.name}"}}'
        yield ends, float(END), at


def iso(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))


@pytest.mark.parametrize("pause", [0, 12 * HOUR], ids=["none", "before the rules"])
def test_a_host_that_was_gone_before_the_rules_were_loaded(tmp_path: Path, pause: int) -> None:
    """1.60 of a host that died on the 4th, and 0.01 of one that lives: 1.61.

    The rules were loaded on the 10th, after half a day of scrapes or at the end of half a day without any.
    """
    loaded = START + 9 * DAY + 1800
    resumed = loaded - 600
    until_ = END + 3 * HOUR

    def samples() -> Iterator[Sample]:
        yield from host(DEAD, MONTH.name, 1.6, range(START + 60, START + 3 * DAY, 600), ends=END, begin=START)
        for times in (range(START + 60, resumed - pause, 600), range(resumed, until_, 600)):
            yield from host(LIVE, MONTH.name, 0.01, times, ends=END, begin=START)
        yield from memory(loaded, NOW)

    program = FleetPrometheus(tmp_path / "prometheus", "{}", retention="90d")
    blocks(samples(), program.data)
    with program:
        dollars, missing = figures(report(program.url))

    assert dollars == 1.61
    # It died at 00:00 on the 4th: its last sample is of the hour that ended then, not of the month's start.
    assert missing == [
        ("silent", DEAD, iso(START + 3 * DAY)),
        *[("unmetered", LIVE, None)] * bool(pause),
    ]


def test_rules_that_were_loaded_within_this_hour(tmp_path: Path) -> None:
    """The real rules, evaluated by a real Prometheus: nobody that died before is in their memory."""
    now = int(time.time())
    # Of the zones of whole hours one in which the month is at least ten hours old.
    name = next(
        zone
        for zone in ("UTC", "Etc/GMT+12", "Etc/GMT-14")
        if now * SECOND - month_of(now * SECOND, ZoneInfo(zone)).start > 10 * HOUR * SECOND
    )
    month = month_of(now * SECOND, ZoneInfo(name))
    start, end = month.start // SECOND, month.end // SECOND

    def samples() -> Iterator[Sample]:
        dead, live = range(start + 60, now - 6 * HOUR, 60), range(start + 60, now, 60)
        yield from host(DEAD, month.name, 1.6, dead, ends=end, begin=start)
        yield from host(LIVE, month.name, 0.01, live, ends=end, begin=start)

    rules = rule_files(tmp_path / "rules", 2)
    program = FleetPrometheus(tmp_path / "prometheus", configuration(rules, None, 5))
    blocks(samples(), program.data)
    with program:
        record = "inference:month_to_date_dollars:posting_hourly"
        until(lambda: program.query(record), 120, "the rules remember the month")
        remembered = {labels["ledger"] for labels, _dollars in program.rows(record)}
        dollars, missing = figures(report(program.url, month.name))

    assert remembered == {LIVE}
    assert dollars == 1.61
    assert [(kind, ledger) for kind, ledger, _time in missing] == [("silent", DEAD)]


def test_samples_that_are_older_than_what_is_kept(tmp_path: Path) -> None:
    """Of a host metered since the 1st a Prometheus has samples since the 10th: its month is whole there."""
    begun = START + 9 * DAY

    def samples() -> Iterator[Sample]:
        yield from host(
            LIVE, MONTH.name, 100.0, range(begun + 60, END + 3 * HOUR, 600), ends=END, begin=START
        )

    program = FleetPrometheus(tmp_path / "prometheus", "{}", retention="90d")
    blocks(samples(), program.data)
    with program:
        document = report(program.url)
        dollars, missing = figures(document)

    assert (dollars, document["incomplete_hosts"]) == (100.0, 1)
    assert missing == [("truncated", program.url, iso(begun))]


@pytest.mark.nightly
def test_the_month_of_a_demo_that_is_older_than_its_prometheus(tmp_path: Path) -> None:
    """Its months are whole in one scrape, and it is said that hosts may have been gone before."""
    port = free_port()
    listen = f"--web.listen-address=127.0.0.1:{port}"
    demo_command = [sys.executable, "-m", "exporter", "demo", listen]
    config = subprocess.run(
        [*demo_command, "--print-prometheus-config"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    before = month_before(month_of(int(time.time()) * SECOND, ZoneInfo("UTC")), ZoneInfo("UTC")).name
    log = tmp_path / "demo.log"
    with log.open("wb") as out:
        demo = subprocess.Popen(
            [*demo_command, "--log.level=error"],
            cwd=ROOT,
            stdout=out,
            stderr=out,
            env={"TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
        )
    try:
        with FleetPrometheus(tmp_path / "prometheus", config) as program:
            scraped = "inference_month_to_date_dollars"
            until(lambda: program.query(scraped), 240, f"the demo is scraped, see {log}")
            document = report(program.url, before)
            (ledger,) = tmp_path.glob("*/ledger.db")
            of_ledger = report(str(ledger), before)
    finally:
        demo.terminate()
        demo.wait(30)

    rows = [{row["product"]: row["dollars"] for row in each["rows"]} for each in (document, of_ledger)]
    assert rows[0] == rows[1]
    dollars, missing = figures(document)
    assert dollars == figures(of_ledger)[0]
    assert [(kind, name) for kind, name, _time in missing] == [("truncated", program.url)]
