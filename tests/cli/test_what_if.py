"""`advise --what-if`: one ledger at the terms of its configuration, or a folder of ledgers."""

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
from exporter.cost.postings import (
    CostOwner,
    GpuTimePosting,
    MoneyPosting,
    OwnerPhase,
    Postings,
    Segment,
    TokenPosting,
)
from exporter.cost.state import GpuState, ServerState, State
from exporter.finance.options.choices import choice
from exporter.ledger.ledger import Ledger
from exporter.readings import UNKNOWN_LOCATION, Gpu, Holder
from exporter.tariff.rate import PriceBasis
from tests.kit.clock import clock_at
from tests.kit.units import DOLLAR, HOUR, NOVEMBER
from tests.ledger.ticks import CHAT, SEARCH

MILLION = 10**6
CONFIG = """\
discovery: {cloud: off, kubernetes: off}
hardware:
  - {match: {gpu_model: "H100"}, rented: {dollars_per_gpu_hour: 5}}
  - {match: {gpu_model: "*L40S*"}, rented: {dollars_per_gpu_hour: 1.10}}
compare:
  - name: api
    as_of: 2026-10-30
    prompt_dollars_per_million_tokens: 1
    generation_dollars_per_million_tokens: 2
"""


def metered(
    path: Path,
    hours: int,
    *,
    owner: CostOwner = CHAT,
    tokens: int = MILLION,
    priced: bool = True,
    basis: PriceBasis = "configured",
    server: ServerState | None = None,
    begin: int = NOVEMBER,
    zone: str = "UTC",
) -> int:
    """A ledger of one GPU at 4 dollars an hour that generates so many tokens in each. Returns its end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    clock = clock_at()
    ledger = Ledger.open(path, clock)
    gpu = Gpu(f"{path.parent.name}-0", "H100")
    gpus = {gpu.uuid: GpuState(gpu, 0, holders=(Holder(owner.key, gpu.uuid),))}
    spent = OwnerPhase(owner, "decode")
    for number in range(hours):
        start = begin + number * HOUR
        day = datetime.fromtimestamp(start // 10**9, ZoneInfo(zone)).date().isoformat()
        money = (MoneyPosting(gpu, "rent", basis, spent, 4 * DOLLAR),) if priced else ()
        times = (GpuTimePosting(gpu, spent, HOUR, chargeable=HOUR, unpriced=not priced),)
        segment = Segment(start, start + HOUR, day[:7], day, 4 * DOLLAR * priced, money, times)
        clock.now = start + HOUR
        servers = {} if server is None else {owner.key: server}
        accrued = 4 * DOLLAR * (number + 1) * priced
        state = State(wall=clock.now, accrued=accrued, gpus=gpus, servers=servers)
        counted = (TokenPosting(owner, "generation", tokens),) if tokens else ()
        ledger.post(Postings(clock.now, (segment,), counted, day=day, zone=zone), state)
    ledger.close()
    return clock.now


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "ice.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


def options(config: Path, ledger: Path | None, *choices: str, **changes: Any) -> AdviseOptions:
    values: dict[str, Any] = {"hours": 336, "as_json": True, **changes}
    return AdviseOptions(config, ledger, choices=tuple(choice(each) for each in choices), **values)


def document(options: AdviseOptions, now: int, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert advise(options, clock_at(now)) == 0
    parsed: dict[str, Any] = json.loads(capsys.readouterr().out)
    return parsed


def test_a_host(tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two days at 4 dollars an hour are 2,920 a month of 730 hours, for 24 million tokens a day.

    An L40S at the configured 1.10: 803. The offer at 2 a million: 1,460. 25 % off: 2,190. The 1st of
    November 2026 is a Sunday, so Sunday's hours are a half: 1,460.
    """
    ledger = tmp_path / "a" / "ledger.db"
    now = metered(ledger, 48)
    requested = options(
        config, ledger, "gpu=L40S:300tok/s", "hosted=api", "commitment=1y:25%", "schedule=sun/00-24"
    )

    printed = document(requested, now, capsys)

    assert (printed["now"]["dollars_per_month"], printed["now"]["tokens_per_day"]) == (2920, 24e6)
    assert [each["dollars_per_month"] for each in printed["choices"]] == [803, 1460, 2190, 1460]
    assert printed["choices"][0]["price_source"] == "hardware[1].rented"
    assert printed["choices"][1]["price_as_of"] == "2026-10-30"
    assert printed["terms"] == ["gpu"]


def test_a_fleet_adds_up(tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two hosts of one server, one of them since the second day: 24 + 48 hours at 4 dollars.

    Together they need 2 GPUs of 300 tokens a second in the peak hour: 2 x 48 x 1.10. A copy counts once.
    """
    fleet = tmp_path / "fleet"
    metered(fleet / "a" / "ledger.db", 24)
    now = metered(fleet / "b" / "ledger.db", 48)
    (fleet / "copy.db").write_bytes((fleet / "a" / "ledger.db").read_bytes())

    printed = document(options(config, None, "gpu=L40S:300tok/s", fleet=FleetSource((fleet,))), now, capsys)

    assert printed["now"]["picodollars"] == 72 * 4 * DOLLAR
    assert printed["now"]["tokens"] == 72 * MILLION
    assert printed["choices"][0]["picodollars"] == 1056 * DOLLAR // 10
    assert printed["terms"] == ["unknown"]


def test_a_fleet_of_one_answers_as_its_host(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """But for the terms, which only a configuration has."""
    ledger = tmp_path / "fleet" / "a" / "ledger.db"
    now = metered(ledger, 48)
    choices = ("gpu=L40S:300tok/s", "hosted=api", "commitment=1y:25%", "schedule=sun/00-24")

    host = document(options(config, ledger, *choices), now, capsys)
    fleet = document(options(config, None, *choices, fleet=FleetSource((ledger.parent,))), now, capsys)

    assert {**fleet, "terms": host["terms"]} == host


def test_the_days_of_a_fleet_are_those_of_its_zone(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At 18:00 UTC of 30 November, which is December in Japan: a host since 3 hours counts, too."""
    fleet = tmp_path / "fleet"
    midnight = NOVEMBER + (30 * 24 - 9) * HOUR
    metered(fleet / "a" / "ledger.db", 48, begin=midnight - 45 * HOUR, zone="Asia/Tokyo")
    now = metered(fleet / "b" / "ledger.db", 3, begin=midnight, zone="Asia/Tokyo")

    printed = document(options(config, None, "hosted=1/1", fleet=FleetSource((fleet,))), now, capsys)

    assert printed["now"]["picodollars"] == 51 * 4 * DOLLAR


def test_a_statement_has_no_hours(tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One of a month in the window needs its ledger, whether the window is the whole month or a part."""
    ledger = tmp_path / "fleet" / "ledger.db"
    metered(ledger, 48)
    december = NOVEMBER + 30 * 24 * HOUR
    closing = ["--month=2026-11", "--close", f"--output={ledger.with_name('statement.json')}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SystemClock, "wall", lambda _: december)
        assert main(["report", "month", *closing, f"--ledger.path={ledger}"]) == 0
    ledger.unlink()
    capsys.readouterr()

    for days, message in (
        (30, "is a statement, without hours: --what-if needs the ledger"),
        (14, "whole month"),
    ):
        fleet = FleetSource((ledger.parent,))
        request = options(config, None, "hosted=1/1", fleet=fleet, hours=days * 24)
        assert advise(request, clock_at(december)) == 1
        assert message in capsys.readouterr().err


def test_one_server(tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By a pattern of its name, with or without its namespace."""
    fleet = tmp_path / "fleet"
    metered(fleet / "a" / "ledger.db", 48)
    now = metered(fleet / "b" / "ledger.db", 48, owner=SEARCH, tokens=5)
    source = FleetSource((fleet,))

    for pattern in ("embed", "*/embed", "emb*"):
        printed = document(options(config, None, "hosted=1/1", servers=pattern, fleet=source), now, capsys)
        assert (printed["now"]["tokens"], printed["now"]["dollars_per_month"]) == (240, 2920)
    assert advise(options(config, None, "hosted=1/1", servers="chat", fleet=source), clock_at(now)) == 1
    assert capsys.readouterr().err == (
        "Nothing is missing: each host is metered and priced for all of its time.\n"
        "no server of the window is called chat; `explain` lists them\n"
    )


def test_what_is_missing_of_a_fleet_is_told(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that was skipped, and a host that was silent for the second of two days: on stderr."""
    fleet = tmp_path / "fleet"
    metered(fleet / "a" / "ledger.db", 24)
    now = metered(fleet / "b" / "ledger.db", 48)
    (fleet / "c.db").write_bytes(b"none")
    source = FleetSource((fleet,), skip_unreadable=True)

    assert advise(options(config, None, "hosted=1/1", fleet=source), clock_at(now)) == 0

    captured = capsys.readouterr()
    assert json.loads(captured.out)["now"]["picodollars"] == 72 * 4 * DOLLAR
    first, *lines = captured.err.splitlines()
    assert first == "INCOMPLETE: 2 of 3 hosts"
    assert "Silent before the end: cost after the last tick is not in the total (1, 24.0000 hours)" in lines
    assert f"  {fleet / 'c.db'} is no ledger that can be read: file is not a database" in lines


@pytest.mark.parametrize("server", [ServerState(partial=True), ServerState(role="decode")])
def test_a_part_of_a_server_is_told_of_a_fleet_as_of_a_host(
    server: ServerState, tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its money over its tokens is no price, whoever asks."""
    ledger = tmp_path / "fleet" / "a" / "ledger.db"
    now = metered(ledger, 48, server=server)

    host = document(options(config, ledger, "hosted=1/1"), now, capsys)
    fleet = document(options(config, None, "hosted=1/1", fleet=FleetSource((ledger.parent,))), now, capsys)

    assert host["partial_servers"] == fleet["partial_servers"] == ["llm/chat-8b"]


@pytest.mark.parametrize(
    ("hours", "message"),
    [
        (1, "hours of history: 1; a comparison needs 24"),
        (48, "hours of history: 0 and 48 in which GPU time has no price; a comparison needs 24"),
    ],
)
def test_too_little(
    hours: int, message: str, tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 1: an hour of history, and two days without a price."""
    ledger = tmp_path / "a" / "ledger.db"
    now = metered(ledger, hours, priced=hours == 1)

    assert advise(options(config, ledger, "hosted=1/1"), clock_at(now)) == 1
    assert capsys.readouterr() == ("", f"{message}\n")


def test_no_figure_at_all(tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without tokens nothing can be bought or sized: status 1, and the reasons are printed."""
    ledger = tmp_path / "a" / "ledger.db"
    now = metered(ledger, 48, tokens=0)

    assert advise(options(config, ledger, "hosted=1/1", "gpu=L40S:1tok/s"), clock_at(now)) == 1
    lacks = [each["lack"] for each in json.loads(capsys.readouterr().out)["choices"]]
    assert lacks == [
        "no token was counted: there is nothing to buy",
        "no token was counted: there is no load to size GPUs by",
    ]


def test_estimated_prices_are_told(tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A host at 4 dollars an hour by an estimate beside one by the configuration: the half of 96."""
    fleet = tmp_path / "fleet"
    metered(fleet / "a" / "ledger.db", 24, basis="estimate")
    now = metered(fleet / "b" / "ledger.db", 24)
    source = FleetSource((fleet,))

    printed = document(options(config, None, "hosted=1/1", fleet=source), now, capsys)
    assert printed["now"]["picodollars"] == 2 * 96 * DOLLAR
    assert printed["now"]["estimated_picodollars"] == 96 * DOLLAR

    assert advise(options(config, None, "hosted=1/1", fleet=source, as_json=False), clock_at(now)) == 0
    assert "2,920.00 of 5,840.00 a month come from estimated prices\n" in capsys.readouterr().out


def test_without_a_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was paid is in the ledger; the terms and prices of now are the catalogue's, and a note says so."""
    ledger = tmp_path / "a" / "ledger.db"
    now = metered(ledger, 48)
    request = AdviseOptions(None, ledger, 336, as_json=True, choices=(choice("hosted=1/1"),))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("exporter.cli.ledger_session.location_now", lambda *_: UNKNOWN_LOCATION)
        assert advise(request, clock_at(now)) == 0

    captured = capsys.readouterr()
    assert captured.err.startswith("note: no --config.file given: ")
    assert json.loads(captured.out)["now"]["dollars_per_month"] == 2920


def test_as_text(tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As it is run: the flags, and a table within 80 columns."""
    ledger = tmp_path / "a" / "ledger.db"
    now = metered(ledger, 48)
    files = [f"--config.file={config}", f"--ledger.path={ledger}"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SystemClock, "wall", lambda _: now)
        assert main(["advise", "--window=24h", "--what-if=hosted=api", "--server=chat*", *files]) == 0

    out = capsys.readouterr().out
    assert out.startswith("what if: 24 hours to 2026-11-03T00:00:00Z, servers chat*\n")
    assert ["1.", "hosted=api", "1,460.00", "-1,460.00", "48,000,000"] in map(str.split, out.splitlines())
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--what-if=gpu=L40S:0tok/s"], "a GPU that serves 0 tokens a second serves no load"),
        (["--what-if=spot"], "'spot' is no choice: begin with gpu=, commitment=, schedule= or hosted="),
        (["--server=chat"], "--server goes with --what-if"),
        (["--what-if=hosted=1/1"] * 9, "--what-if is given more than 8 times"),
        (["--what-if=hosted=1/1", "--from=http://prometheus:9090"], "--from needs ledgers here"),
    ],
)
def test_bad_flags(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, with what is expected."""
    with pytest.raises(SystemExit, match="2"):
        main(["advise", *flags])
    assert message in capsys.readouterr().err
