"""The verb `advise`: one ledger at the prices of its configuration, or a folder of ledgers."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from exporter.cli import main
from exporter.cli.advise import AdviseOptions, advise
from exporter.cli.fleet_source import FleetSource
from exporter.clock import SystemClock
from exporter.cost.postings import CostOwner, GpuTimePosting, MoneyPosting, OwnerPhase, Postings, Segment
from exporter.cost.state import GpuState, State
from exporter.ledger.ledger import Ledger
from exporter.readings import Gpu, Holder
from exporter.tariff.rate import PriceBasis
from tests.kit.clock import clock_at
from tests.kit.units import DOLLAR, HOUR, NOVEMBER
from tests.ledger.ticks import UNALLOCATED_OWNER

ARCHIVE = CostOwner("archive", "records", "llm", "archive-13b", "")
CONFIG = """\
discovery: {cloud: off, kubernetes: off}
hardware:
  - {match: {gpu_model: "H100"}, rented: {dollars_per_gpu_hour: 5}}
"""


def metered(
    path: Path, hours: int, *, begin: int = NOVEMBER, zone: str = "UTC", basis: PriceBasis = "configured"
) -> int:
    """A ledger of a free GPU and one of a silent server, at 4 dollars an hour. Returns its end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    clock = clock_at()
    ledger = Ledger.open(path, clock)
    free, server_gpu = Gpu(f"{path.parent.name}-0", "H100"), Gpu(f"{path.parent.name}-1", "H100")
    gpus = {
        free.uuid: GpuState(free, 0),
        server_gpu.uuid: GpuState(server_gpu, 1, holders=(Holder(ARCHIVE.key, server_gpu.uuid),)),
    }
    owners = ((free, OwnerPhase(UNALLOCATED_OWNER, "idle")), (server_gpu, OwnerPhase(ARCHIVE, "idle")))
    for number in range(hours):
        start = begin + number * HOUR
        day = datetime.fromtimestamp(start // 10**9, ZoneInfo(zone)).date().isoformat()
        money = tuple(MoneyPosting(gpu, "rent", basis, owner, 4 * DOLLAR) for gpu, owner in owners)
        times = tuple(GpuTimePosting(gpu, owner, HOUR, chargeable=HOUR) for gpu, owner in owners)
        segment = Segment(start, start + HOUR, day[:7], day, 8 * DOLLAR, money, times)
        clock.now = start + HOUR
        state = State(wall=clock.now, accrued=8 * DOLLAR * (number + 1), gpus=gpus)
        ledger.post(Postings(clock.now, (segment,), day=day, zone=zone), state)
    ledger.close()
    return clock.now


def document(options: AdviseOptions, now: int, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert advise(options, clock_at(now)) == 0
    parsed: dict[str, Any] = json.loads(capsys.readouterr().out)
    return parsed


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "ice.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


def test_a_host(tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two days of two GPUs at 5 dollars of the configuration: 3650 dollars a month each, in cash."""
    ledger = tmp_path / "a" / "ledger.db"
    now = metered(ledger, 48)

    printed = document(AdviseOptions(config, ledger, 336, as_json=True), now, capsys)

    assert [(each["kind"], each["dollars_per_month"], each["cash"]) for each in printed["savings"]] == [
        ("unallocated", 3650, True),
        ("deserted", 3650, True),
    ]
    assert printed["savings"][1]["command"] == (
        "inference-cost-exporter explain llm/archive-13b --window=48h "
        f"--config.file={config} --ledger.path={ledger}"
    )
    assert [lack["reason"] for lack in printed["lacks"]] == ["weeks"]


def test_the_printed_commands_run(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They show the unallocated GPUs, and the server."""
    ledger = tmp_path / "a" / "ledger.db"
    now = metered(ledger, 48)
    commands = [
        each["command"].split()[1:]
        for each in document(AdviseOptions(config, ledger, 336, as_json=True), now, capsys)["savings"]
    ]

    monkeypatch.setattr(SystemClock, "wall", lambda _: now)
    for command, name in zip(commands, ("unallocated", "archive-13b"), strict=True):
        assert main(command) == 0
        assert name in capsys.readouterr().out


def test_a_muted_finding(tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The configuration mutes one of two."""
    ledger = tmp_path / "a" / "ledger.db"
    now = metered(ledger, 48)
    config.write_text(
        f"{CONFIG}advise:\n  ignore:\n"
        "    - {kind: deserted, server: archive-*, reason: standby, until: 2027-01-01}\n"
    )

    assert advise(AdviseOptions(config, ledger, 336, as_json=False), clock_at(now)) == 0

    out = capsys.readouterr().out
    assert out.startswith("savings at present prices: 3,650.00 dollars a month\n")
    assert "until 2027-01-01: standby" in " ".join(out.split())


def test_a_fleet(tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two hosts at the 4 dollars that their ledgers paid last; a copy of a ledger counts once.

    The configuration has terms for every host: GPUs that are rented by the hour are cash.
    """
    for name in ("a", "b"):
        now = metered(tmp_path / "fleet" / name / "ledger.db", 48)
    copy = tmp_path / "fleet" / "copy.db"
    copy.write_bytes((tmp_path / "fleet" / "a" / "ledger.db").read_bytes())
    fleet = FleetSource((tmp_path / "fleet",))

    printed = document(AdviseOptions(config, None, 336, as_json=True, fleet=fleet), now, capsys)

    assert [(each["host"], each["kind"], each["dollars_per_month"]) for each in printed["savings"]] == [
        ("a", "unallocated", 2920),
        ("a", "deserted", 2920),
        ("b", "unallocated", 2920),
        ("b", "deserted", 2920),
    ]
    assert {each["obstacle"] for each in printed["savings"]} == {None}


def test_a_terminal_of_80_columns(tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All lines of a fleet fit but its commands, which can be copied."""
    for name in ("a", "b" * 90):
        now = metered(tmp_path / "fleet" / name / "ledger.db", 48)
    fleet = FleetSource((tmp_path / "fleet",))

    assert advise(AdviseOptions(config, None, 336, as_json=False, fleet=fleet), clock_at(now)) == 0

    lines = capsys.readouterr().out.splitlines()
    commands = [line for line in lines if line.startswith("   Why: inference-cost-exporter ")]
    assert len(commands) == 4
    assert max(len(line) for line in lines if line not in commands) <= 80


@pytest.mark.parametrize(
    ("match", "pricing", "obstacle"),
    [
        ('gpu_model: "H100", host: "a"', "rented: {dollars_per_gpu_hour: 5}", "unknown"),
        ('gpu_model: "L40S"', "rented: {dollars_per_gpu_hour: 5}", "unknown"),
        ('region: "eu-*"', "rented: {dollars_per_gpu_hour: 5}", "unknown"),
        ('gpu_model: "H100"', "rented: {dollars_per_gpu_hour: 5, billing: always}", "lease"),
        ('gpu_model: "H100"', "rented: {dollars_per_host_hour: 40, gpus_per_host: 8}", None),
    ],
    ids=["another-host", "another-gpu", "somewhere", "lease", "whole-host"],
)
def test_terms_of_other_hosts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], match: str, pricing: str, obstacle: str | None
) -> None:
    """Those of a rule that holds anywhere, and of none after one that does not; all of the host is free."""
    config = tmp_path / "ice.yaml"
    config.write_text(
        f"discovery: {{cloud: off, kubernetes: off}}\nhardware:\n  - {{match: {{{match}}}, {pricing}}}\n"
        "  - {match: {host: b}, rented: {dollars_per_gpu_hour: 5}}\n"
        "  - {match: {}, rented: {dollars_per_gpu_hour: 5}}\n",
        encoding="utf-8",
    )
    now = metered(tmp_path / "fleet" / "a" / "ledger.db", 48)
    options = AdviseOptions(config, None, 336, as_json=True, fleet=FleetSource((tmp_path / "fleet",)))

    printed = document(options, now, capsys)

    assert {each["obstacle"] for each in printed["savings"]} == {obstacle}
    assert {each["dollars_per_month"] for each in printed["savings"]} == {2920}


def test_an_hour_of_history(tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what it lacks, and invents nothing."""
    ledger = tmp_path / "a" / "ledger.db"
    now = metered(ledger, 1)

    printed = document(AdviseOptions(config, ledger, 336, as_json=True), now, capsys)

    assert (printed["savings"], [lack["reason"] for lack in printed["lacks"]]) == ([], ["history"])


def test_no_ledger(tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 1, with the remedy."""
    assert advise(AdviseOptions(config, tmp_path / "none.db", 336, as_json=True), clock_at()) == 1

    assert "name the daemon's ledger with --ledger.path" in capsys.readouterr().err


def test_what_is_missing_is_of_all_days_of_the_window(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two days without ticks at the end of October are written on the second of November."""
    ledger = tmp_path / "fleet" / "a" / "ledger.db"
    metered(ledger, 24, begin=NOVEMBER - 3 * 24 * HOUR)
    now = metered(ledger, 24)
    options = AdviseOptions(config, None, 336, as_json=True, fleet=FleetSource((tmp_path / "fleet",)))

    assert advise(options, clock_at(now)) == 0
    written = capsys.readouterr().err
    assert "INCOMPLETE: 1 of 1 hosts" in written
    assert "48.0000 hours" in written


def test_a_fleet_that_has_nothing_of_these_days(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Savings are those of hosts that report."""
    now = metered(tmp_path / "fleet" / "a" / "ledger.db", 48)
    fleet = FleetSource((tmp_path / "fleet",))
    options = AdviseOptions(config, None, 336, as_json=True, fleet=fleet)

    assert advise(options, clock_at(now + 60 * 24 * HOUR)) == 1
    assert "no ledger has anything of these days" in capsys.readouterr().err


def test_estimates_of_a_fleet_are_marked(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A host at an estimate beside one at a configured price: two findings each."""
    metered(tmp_path / "fleet" / "a" / "ledger.db", 48, basis="estimate")
    now = metered(tmp_path / "fleet" / "b" / "ledger.db", 48)
    fleet = FleetSource((tmp_path / "fleet",))

    assert advise(AdviseOptions(config, None, 336, as_json=False, fleet=fleet), clock_at(now)) == 0
    assert capsys.readouterr().out.count("Price: an estimate, neither configured nor a list price.") == 2

    printed = document(AdviseOptions(config, None, 336, as_json=True, fleet=fleet), now, capsys)
    assert [(each["host"], each["price_basis"]) for each in printed["savings"]] == [
        ("a", "estimate"),
        ("a", "estimate"),
        ("b", "configured"),
        ("b", "configured"),
    ]


def test_what_is_missing_of_a_fleet_is_told(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that was skipped, on stderr: its savings are in no sum."""
    fleet = tmp_path / "fleet"
    now = metered(fleet / "a" / "ledger.db", 48)
    (fleet / "b.db").write_bytes(b"none")
    source = FleetSource((fleet,), skip_unreadable=True)

    assert advise(AdviseOptions(config, None, 336, as_json=True, fleet=source), clock_at(now)) == 0

    captured = capsys.readouterr()
    assert json.loads(captured.out)["savings"]
    assert captured.err.startswith("INCOMPLETE: 1 of 2 hosts\n")
    assert f"  {fleet / 'b.db'} is no ledger that can be read: file is not a database" in captured.err


def test_a_statement_has_no_hours(tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The month of a host that is gone cannot be judged, and is not left out in silence."""
    ledger = tmp_path / "fleet" / "ledger.db"
    now = metered(ledger, 48)
    statement = ledger.with_name("statement.json")
    closing = ["--month=2026-11", "--close", f"--output={statement}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SystemClock, "wall", lambda _: NOVEMBER + 30 * 24 * HOUR)
        assert main(["report", "month", *closing, f"--ledger.path={ledger}"]) == 0
    ledger.unlink()
    capsys.readouterr()
    fleet = FleetSource((ledger.parent,))

    assert advise(AdviseOptions(config, None, 336, as_json=True, fleet=fleet), clock_at(now)) == 1

    assert "2026-10-20/2026-11-03 needs the ledgers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("zone", "after"),
    [("America/Los_Angeles", 3), ("Asia/Tokyo", -6)],
    ids=["where-november-goes-on", "where-december-began"],
)
def test_the_month_of_a_fleet_is_that_of_its_zone(
    zone: str, after: int, tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At 03:00 UTC of 1 December it is November in California; at 18:00 before, December in Japan."""
    begin = NOVEMBER + (30 * 24 + after - 48) * HOUR
    now = metered(tmp_path / "fleet" / "a" / "ledger.db", 48, begin=begin, zone=zone)
    options = AdviseOptions(config, None, 336, as_json=True, fleet=FleetSource((tmp_path / "fleet",)))

    printed = document(options, now, capsys)

    assert [each["dollars_per_month"] for each in printed["savings"]] == [2920, 2920]


@pytest.mark.parametrize("window", ["23h", "41d", "60m", "two"])
def test_a_window_that_is_none(window: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Less than a day is too short, and hours are kept for 40 days."""
    with pytest.raises(SystemExit, match="2"):
        main(["advise", f"--window={window}"])

    assert f"'{window}' is no window: write hours or days from 24h to 40d" in capsys.readouterr().err


def test_an_address_has_no_hours(capsys: pytest.CaptureFixture[str]) -> None:
    """A Prometheus cannot answer."""
    with pytest.raises(SystemExit, match="2"):
        main(["advise", "--from=http://prometheus:9090"])

    assert "--from needs ledgers here" in capsys.readouterr().err
