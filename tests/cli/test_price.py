"""`price --requests`: logs of requests beside a ledger, and beside those of a fleet."""

import csv
import io
import json
from collections import Counter
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from time import process_time
from typing import Any

import pytest

from exporter.cli import main
from exporter.cli.price import ATTRIBUTE, PriceOptions, price
from exporter.cost.postings import CostOwner, GpuTimePosting, MoneyPosting, OwnerPhase, Phase
from exporter.finance.requests import sheet
from exporter.ledger.ledger import Ledger
from exporter.readings import TokenKind
from exporter.tariff.rate import PriceBasis
from tests.kit.clock import clock_at
from tests.kit.units import DOLLAR, HOUR, NOVEMBER, SECOND
from tests.ledger.ticks import CHAT, GPU_1, UNALLOCATED_OWNER, accrued, money, tick, tokens

START = NOVEMBER // SECOND
COST = ATTRIBUTE
PHASES: tuple[tuple[Phase, int], ...] = (("prefill", 100), ("decode", 300), ("idle", 11))
KINDS: tuple[tuple[TokenKind, int], ...] = (("prompt", 100), ("generation", 30))
TOKYO = "Asia/Tokyo"


def metered(
    path: Path,
    *,
    hours: int = 2,
    since: int = 0,
    scale: int = 1,
    owner: CostOwner = CHAT,
    zone: str = "UTC",
    basis: PriceBasis = "configured",
) -> Path:
    """A ledger whose hours have cost 100 of prefill, 300 of decode, 11 idle, 5 unallocated, by `scale`.

    They served 100 tokens of prompts and 30 of answers. The first one begins `since` hours after November in
    UTC. Days are those of Tokyo, nine hours ahead, or of UTC.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    clock = clock_at()
    ledger = Ledger.open(path, clock)
    ticks = []
    for number in range(since, since + hours):
        clock.now = NOVEMBER + (number + 1) * HOUR
        amounts: list[MoneyPosting] = [money(amount * scale, owner, phase) for phase, amount in PHASES]
        amounts.append(money(5 * scale, UNALLOCATED_OWNER, "idle")._replace(price_basis=basis))
        counted = [tokens(count, owner, kind) for kind, count in KINDS]
        day = str(date(2026, 11, 1) + timedelta(days=(number + 9 * (zone == TOKYO)) // 24))
        posted = tick(clock.now, *amounts, length=HOUR, tokens=counted, month=day[:7], day=day)
        ticks.append(replace(posted, zone=zone))
        ledger.post(ticks[-1], accrued(*ticks))
    ledger.close()
    return path


def logged(path: Path, *changes: dict[str, Any]) -> Path:
    """A log of LiteLLM. Without changes a request has 50 tokens, 3 of its answer 10 dollars."""
    lines = [
        {
            "id": f"chatcmpl-{number}",
            "endTime": START + 60 + number,
            "model": "hosted_vllm/llama-8b",
            "prompt_tokens": 50,
            "completion_tokens": 3,
            **each,
        }
        for number, each in enumerate(changes)
    ]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return path


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return metered(tmp_path / "ledger.db", scale=DOLLAR // 1000)


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line, parse_float=Decimal) for line in text.splitlines()]


def test_each_request_the_rest_and_the_hour(
    ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In thousandths of a dollar, a token of a prompt costs 1 and one of an answer 10.

    The second request ended in the second hour.
    """
    log = logged(tmp_path / "log.jsonl", {}, {"endTime": START + 3601, "completion_tokens": 30})
    before = ledger.read_bytes()

    assert main(["price", f"--requests={log}", f"--ledger.path={ledger}"]) == 0

    captured = capsys.readouterr()
    written = rows(captured.out)
    assert [(row["record"], row["hour"][11:13], row["picodollars"] * 1000 // DOLLAR) for row in written] == [
        *(("request", "00", 80), ("not_in_file", "00", 320), ("idle", "00", 16), ("hour", "00", 416)),
        *(("request", "01", 350), ("not_in_file", "01", 50), ("idle", "01", 16), ("hour", "01", 416)),
    ]
    assert written[0] == {
        "record": "request",
        "hour": "2026-11-01T00:00:00Z",
        "end": "2026-11-01T00:01:00Z",
        "id": "chatcmpl-0",
        "model": "llama-8b",
        "input_tokens": 50,
        "output_tokens": 3,
        "gen_ai.usage.cost.currency": "USD",
        "gen_ai.usage.cost.source": "local",
        "picodollars": 80 * DOLLAR // 1000,
        COST: Decimal("0.08"),
    }
    assert captured.err == (
        "hour                  requests  dollars of them  not in the file  idle  dollars\n"
        "--------------------  --------  ---------------  ---------------  ----  -------\n"
        "2026-11-01T00:00:00Z         1             0.08             0.32  0.02     0.42\n"
        "2026-11-01T01:00:00Z         1             0.35             0.05  0.01     0.41\n"
        "--------------------  --------  ---------------  ---------------  ----  -------\n"
        "all                          2             0.43             0.37  0.03     0.83\n"
    )
    assert ledger.read_bytes() == before


def test_another_attribute(ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Alone, since what would stand beside it is the proposal's."""
    log = logged(tmp_path / "log.jsonl", {})
    assert main(["price", f"--requests={log}", f"--ledger.path={ledger}", "--attribute=llm.cost"]) == 0

    first = rows(capsys.readouterr().out)[0]
    assert first["llm.cost"] == Decimal("0.08")
    assert not [name for name in first if name.startswith("gen_ai.")]


@pytest.mark.parametrize("name", ["", "picodollars", "a b", "9", 'x"', "x" * 129])
def test_an_attribute_that_is_none(name: str, ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither a field of the row, nor anything that would need quotes."""
    with pytest.raises(SystemExit) as raised:
        main(["price", "--requests=x", f"--ledger.path={ledger}", f"--attribute={name}"])
    assert raised.value.code == 2
    assert f"{name!r} is no attribute: write one like gen_ai.usage.cost.amount" in capsys.readouterr().err


def test_the_verb_has_the_default_of_the_report() -> None:
    """It is spelled twice, since nothing of finance is imported for the flags."""
    assert sheet.ATTRIBUTE == ATTRIBUTE


def test_csv_to_the_cent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ten requests at 0.004 dollars sum to 0.04: the rest of a cent is carried on.

    The ids are of clients, and no formulas. 0.416 in all.
    """
    ledger = metered(tmp_path / "ledger.db", hours=1, scale=DOLLAR // 1000)
    log = logged(
        tmp_path / "log.jsonl",
        *({"id": f"=1+{n}", "prompt_tokens": 4, "completion_tokens": 0} for n in range(10)),
    )
    assert main(["price", f"--requests={log}", f"--ledger.path={ledger}", "--csv"]) == 0

    written = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row[COST] for row in written] == [
        *("0.00", "0.01", "0.00", "0.01", "0.00", "0.00", "0.01", "0.00", "0.01", "0.00"),
        *("0.36", "0.02"),
    ]
    assert written[1] == {
        "record": "request",
        "hour": "2026-11-01T00:00:00Z",
        "end": "2026-11-01T00:01:01Z",
        "id": "'=1+1",
        "model": "llama-8b",
        "input_tokens": "4",
        "cached_input_tokens": "",
        "output_tokens": "0",
        COST: "0.01",
    }


def test_a_request_that_ended_within_a_second(
    ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """To the millisecond."""
    log = logged(tmp_path / "log.jsonl", {"endTime": "2026-11-01T00:01:00.25Z"})
    assert main(["price", f"--requests={log}", f"--ledger.path={ledger}"]) == 0

    assert rows(capsys.readouterr().out)[0]["end"] == "2026-11-01T00:01:00.250Z"


def test_models_that_no_server_has(ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Their tokens and no dollars; of a thousand names ten are told."""
    unknown = [{"model": f"gpt-{n}"} for n in range(1000)]
    log = logged(tmp_path / "log.jsonl", *unknown, {"endTime": START + 3601})
    assert main(["price", f"--requests={log}", f"--ledger.path={ledger}", f"--attribute={COST}"]) == 0

    captured = capsys.readouterr()
    first = rows(captured.out)[0]
    assert (first["model"], first["unpriced"]) == ("gpt-0", "not_served")
    assert not {COST, "picodollars"} & set(first)
    assert rows(captured.out)[1000]["picodollars"] == 400 * DOLLAR // 1000
    assert captured.err.endswith(
        "note: not served here, without a cost: 1,000 requests, 53,000 tokens: gpt-0 (53 tokens), "
        + ", ".join(f"gpt-{n} (53 tokens)" for n in range(1, 10))
        + ", and 990 requests of other models\n"
    )


def test_an_hour_without_a_cost_of_the_model(
    ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The daemon did not run then, or the file is of another day in part."""
    log = logged(tmp_path / "log.jsonl", {}, {"endTime": START + 86400})
    assert main(["price", f"--requests={log}", f"--ledger.path={ledger}"]) == 0

    captured = capsys.readouterr()
    assert rows(captured.out)[-1]["unpriced"] == "no_cost"
    assert captured.err.endswith(
        "warning: of hours in which the ledger has no cost of tokens of their model: 1 requests, 53 tokens\n"
    )


def test_more_tokens_than_the_ledger_counted(
    ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two logs of the same requests under other ids: all the money, and a warning."""
    log = logged(tmp_path / "log.jsonl", *[{}] * 3)
    assert main(["price", f"--requests={log}", f"--ledger.path={ledger}"]) == 0

    captured = capsys.readouterr()
    assert (
        "warning: llama-8b: 50 prompt tokens more than the ledger counted in their hours: two "
        in captured.err
    )
    assert sum(row["picodollars"] for row in rows(captured.out)[:3]) == 190 * DOLLAR // 1000


def test_time_without_a_price_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Half of the hour's GPUs wait for a price: what requests cost is not all."""
    clock = clock_at(NOVEMBER + HOUR)
    ledger = Ledger.open(tmp_path / "ledger.db", clock)
    waiting = GpuTimePosting(GPU_1, OwnerPhase(CHAT, "decode"), HOUR, unpriced=True, chargeable=HOUR)
    metered_hour = tick(clock.now, money(400), length=HOUR, gpu_time=(waiting,), tokens=(tokens(3),))
    ledger.post(metered_hour, accrued(metered_hour))
    ledger.close()
    log = logged(tmp_path / "log.jsonl", {})
    assert main(["price", f"--requests={log}", f"--ledger.path={tmp_path / 'ledger.db'}"]) == 0

    assert (
        "warning: GPU time has no price in 1 hours, first in 2026-11-01T00:00:00Z: requests of these hours "
        "cost more\n"
    ) in capsys.readouterr().err


def test_estimated_prices_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """5 of 416 cents an hour, in the two hours of the requests."""
    ledger = metered(tmp_path / "ledger.db", scale=DOLLAR // 100, basis="estimate")
    log = logged(tmp_path / "log.jsonl", {}, {"endTime": START + 3601})

    assert main(["price", f"--requests={log}", f"--ledger.path={ledger}"]) == 0

    assert "\nwarning: 0.10 of 8.32 dollars come from estimated prices\n" in capsys.readouterr().err


def test_a_file_of_another_day(ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Says which day it is of, with --date and without."""
    log = logged(tmp_path / "log.jsonl", {"endTime": START - 86400})
    common = [f"--requests={log}", f"--ledger.path={ledger}"]

    assert main(["price", *common]) == 1
    assert capsys.readouterr().err == (
        "no ledger has an hour from 2026-10-30 23:00 UTC to 2026-10-31 00:00 UTC, in which the requests "
        "ended; hours are kept for 40 days\n"
    )
    assert main(["price", *common, "--date=2026-11-01"]) == 1
    assert capsys.readouterr().err == (
        "no request ended on 2026-11-01 in UTC: they ended from 2026-10-31 00:00 UTC to 2026-10-31 00:00 "
        "UTC\n"
    )


def test_an_hour_that_goes_on_is_said(
    ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its dollars and tokens grow until it is over, and a request of it then has another cost."""
    log = logged(tmp_path / "log.jsonl", {}, {"endTime": START + 3601})
    options = PriceOptions(None, ledger, (log,))
    for minutes, warned in ((61, True), (119, True), (120, False)):
        clock = clock_at()
        clock.now = NOVEMBER + minutes * 60 * SECOND
        assert price(options, clock) == 0

        warning = "warning: the hour from 2026-11-01T01:00:00Z is not over"
        assert (warning in capsys.readouterr().err) == warned, minutes


def test_one_day_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All 24 hours of it, in the ledger's time zone."""
    ledger = metered(tmp_path / "ledger.db", hours=48)
    log = logged(tmp_path / "log.jsonl", {}, {"endTime": START + 86401})
    assert main(["price", f"--requests={log}", f"--ledger.path={ledger}", "--date=2026-11-02"]) == 0

    captured = capsys.readouterr()
    written = rows(captured.out)
    assert [row["id"] for row in written if row["record"] == "request"] == ["chatcmpl-1"]
    assert sum(row["picodollars"] for row in written if row["record"] == "hour") == 24 * 416
    assert captured.err.endswith("warning: of another day, and left out: 1\n")


def test_nothing_has_a_cost(ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ends with 1, after all that is known of the file."""
    log = logged(tmp_path / "log.jsonl", {"model": "gpt-5"})
    assert main(["price", f"--requests={log}", f"--ledger.path={ledger}"]) == 1
    assert capsys.readouterr().err.endswith(
        "not served here, without a cost: 1 requests, 53 tokens: gpt-5 (53 tokens)\n"
        "no request has a cost: the lines above say why\n"
    )


def test_a_file_without_requests(ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Such as one JSON value over many lines."""
    log = tmp_path / "log.json"
    log.write_text(json.dumps({"resourceSpans": []}, indent=2))
    assert main(["price", f"--requests={log}", f"--ledger.path={ledger}"]) == 1
    assert capsys.readouterr().err == (
        "warning: unreadable, and left out: 3, at lines 1, 2, 3\n"
        "there is no request: a log has one JSON object a line, as `jq -c .` writes them\n"
    )


def test_a_file_that_is_not_there(ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["price", f"--requests={tmp_path / 'no'}", f"--ledger.path={ledger}"]) == 2
    assert capsys.readouterr().err == f"{tmp_path / 'no'}: cannot be read: No such file or directory\n"


def test_standard_input(
    ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once: it cannot be read again."""
    log = logged(tmp_path / "log.jsonl", {}).read_bytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(log))))
    assert main(["price", "--requests=-", f"--ledger.path={ledger}"]) == 0
    assert rows(capsys.readouterr().out)[0]["id"] == "chatcmpl-0"

    with pytest.raises(SystemExit):
        main(["price", "--requests=-", "--requests=-", f"--ledger.path={ledger}"])
    assert "--requests=- can be given once" in capsys.readouterr().err


def test_a_fleet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two hosts of the model are one pool, and a copy counts once: 400 and 1200 over 200 and 60 tokens."""
    folder = tmp_path / "archive"
    metered(folder / "a" / "ledger.db", hours=1)
    second = metered(folder / "b" / "ledger.db", hours=1, scale=3)
    (folder / "copy.db").write_bytes(second.read_bytes())
    log = logged(tmp_path / "log.jsonl", {})

    assert main(["price", f"--requests={log}", f"--from={folder}"]) == 0

    written = rows(capsys.readouterr().out)
    assert [row["picodollars"] for row in written] == [160, 1600 - 160, 64, 1664]


def test_a_day_of_a_fleet_is_of_its_time_zone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tokyo's 2nd of November is from 15 hours on the 1st to 15 hours on the 2nd in UTC: hours 15 to 38.

    So it is without a configuration, whose time zone would be another one.
    """
    folder = tmp_path / "archive"
    metered(folder / "a" / "ledger.db", hours=48, zone=TOKYO)
    ends = [START + hour * 3600 + 60 for hour in (14, 20, 38, 39)]
    log = logged(tmp_path / "log.jsonl", *({"endTime": end} for end in ends))

    assert main(["price", f"--requests={log}", f"--from={folder}", "--date=2026-11-02"]) == 0

    captured = capsys.readouterr()
    written = rows(captured.out)
    assert [row["id"] for row in written if row["record"] == "request"] == ["chatcmpl-1", "chatcmpl-2"]
    hours = [row["hour"] for row in written if row["record"] == "hour"]
    assert (len(hours), hours[0], hours[-1]) == (24, "2026-11-01T15:00:00Z", "2026-11-02T14:00:00Z")
    assert "Nothing is missing" in captured.err


def test_a_host_that_lived_for_an_hour_counts_in_any_time_zone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At 20 hours on the 31st of October in UTC it is November in Tokyo.

    A host that lived in that hour alone has nothing of October there. Two of Tokyo cost 2 x 416, and one of
    UTC, which has nothing of November, 416 more.
    """
    folder = tmp_path / "archive"
    metered(folder / "a" / "ledger.db", hours=48, since=-24, zone=TOKYO)
    metered(folder / "b" / "ledger.db", hours=1, since=-4, zone=TOKYO)
    log = logged(tmp_path / "log.jsonl", {"endTime": START - 4 * 3600 + 60})
    command = ["price", f"--requests={log}", f"--from={folder}"]

    for day in ((), ("--date=2026-11-01",)):
        assert main([*command, *day]) == 0
        assert dollars_at(capsys.readouterr().out, "2026-10-31T20:00:00Z") == 2 * 416

    metered(folder / "c" / "ledger.db", hours=1, since=-4)
    for day in ((), ("--date=2026-11-01",)):
        assert main([*command, *day, "--mixed-zones"]) == 0
        assert dollars_at(capsys.readouterr().out, "2026-10-31T20:00:00Z") == 3 * 416


def dollars_at(text: str, hour: str) -> int:
    (amount,) = (row["picodollars"] for row in rows(text) if (row["record"], row["hour"]) == ("hour", hour))
    return int(amount)


@pytest.mark.parametrize("day", ["0001-01-01", "1970-01-01", "2000-12-31", "2099-01-01", "9999-12-31"])
def test_a_day_that_no_log_has(day: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["price", "--requests=x", f"--date={day}"])
    assert raised.value.code == 2
    assert "logs of requests are from 2001 to 2098" in capsys.readouterr().err


def test_a_fleet_needs_ledgers(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["price", "--requests=x", "--from=http://127.0.0.1:9"])
    assert "--from needs ledgers here" in capsys.readouterr().err


@pytest.mark.nightly
def test_a_day_of_a_hundred_thousand_requests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In less than 30 seconds of a CPU; to the picodollar in JSON, to the cent in CSV.

    Each of the 24 hours costs 4.16 dollars and serves 100 tokens; a model in a thousand has another name.
    """
    ledger = metered(tmp_path / "ledger.db", hours=24, scale=DOLLAR // 100)
    log = tmp_path / "log.jsonl"
    with log.open("w") as file:
        for number in range(100_000):
            end = START + 1 + number * 86_398 / 100_000
            model = "llama-8b" if number % 1000 else f"m-{number}"
            file.write(
                f'{{"id": "chatcmpl-{number}", "endTime": {end}, "model": "{model}", "prompt_tokens": '
                f'{number % 900 + 1}, "completion_tokens": {number % 70}, "messages": "{"x" * 500}"}}\n'
            )
    common = ["price", f"--requests={log}", f"--ledger.path={ledger}"]

    began = process_time()
    assert main(common) == 0
    assert process_time() - began < 30

    captured = capsys.readouterr()
    sums: Counter[str] = Counter()
    hours: dict[str, int] = {}
    for line in captured.out.splitlines():
        row = json.loads(line)
        if row["record"] == "hour":
            hours[row["hour"]] = row["picodollars"]
        elif "unpriced" not in row:
            sums[row["hour"]] += row["picodollars"]
    assert dict(sums) == hours
    assert set(hours.values()) == {416 * DOLLAR // 100}
    assert "not served here, without a cost: 100 requests, " in captured.err

    assert main([*common, "--csv"]) == 0
    written = csv.DictReader(io.StringIO(capsys.readouterr().out))
    cents = [Decimal(row[COST]) for row in written if row[COST] != "not_served"]
    assert (len(cents), sum(cents)) == (99_900 + 48, Decimal("99.84"))
