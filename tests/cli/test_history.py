"""The verb `history`: one command, one Prometheus, no daemon."""

import json
import re
import shlex
from collections.abc import Mapping
from datetime import date
from functools import partial
from pathlib import Path

import httpx
import pytest

from exporter.cli import fleet_source, main
from exporter.cli.history import HistoryOptions, history
from exporter.finance.prometheus.client import PrometheusClient
from tests.finance.history.answers import FakePrometheus
from tests.kit.clock import START, ManualClock
from tests.kit.units import HOUR

LAST = START // HOUR
"""The hour that begins now; the last whole one is before it."""

GPU = {
    "UUID": "GPU-1",
    "gpu": "0",
    "modelName": "NVIDIA H100 80GB HBM3",
    "Hostname": "node-1",
    "instance": "node-1:9400",
    "job": "dcgm",
}
UTILIZATION = "DCGM_FI_DEV_GPU_UTIL"
SPEND = "inference:spend_dollars_per_hour"
MILLISECOND = 0.001 / 3600
"""Of an hour: values are a millisecond before its end."""


def server(
    series: tuple[Mapping[str, str], ...] = ({"__name__": UTILIZATION, **GPU},), **own: float
) -> FakePrometheus:
    """One GPU for 48 hours up to now, at 50 % and a sample each 30 seconds.

    `own` are clusters with records of ours, and the hours at whose end these are first.
    """
    hours = [float(hour) for hour in range(LAST - 49, LAST)]
    return FakePrometheus(
        {
            f"avg_over_time({UTILIZATION}[3599999ms])": [(GPU, [(hour, 50.0) for hour in hours])],
            f"count_over_time({UTILIZATION}[3599999ms])": [(GPU, [(hour, 120.0) for hour in hours])],
            f'count by (cluster) (last_over_time({SPEND}{{ledger=""}}[1h]))': [
                ({"cluster": cluster}, [(hour + MILLISECOND, 1.0)]) for cluster, hour in own.items()
            ],
        },
        series,
    )


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> FakePrometheus:
    """Every client is answered by this server."""
    made = server()
    _answer_by(monkeypatch, made.answer)
    return made


def _answer_by(monkeypatch: pytest.MonkeyPatch, answer: object) -> None:
    transport = httpx.MockTransport(answer)  # type: ignore[arg-type]
    monkeypatch.setattr(fleet_source, "PrometheusClient", partial(PrometheusClient, transport=transport))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "ice.yaml"
    path.write_text('hardware: [{match: {gpu_model: "*H100*"}, rented: {dollars_per_gpu_hour: 3}}]\n')
    return path


def test_the_last_days_are_reckoned_at_the_prices_of_the_configuration(
    answered: FakePrometheus, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """48 hours of one GPU at 3 dollars, with the hours of one query at a time."""
    options = HistoryOptions("http://p.example:9090", config, since=48 * HOUR, form="json")

    assert history(options, ManualClock()) == 0
    parsed = json.loads(capsys.readouterr().out)
    assert parsed["months"][0]["dollars"] == 144
    assert (parsed["from"], parsed["until"]) == ("2026-11-23T00:00:00Z", "2026-11-25T00:00:00Z")
    assert parsed["load"]["queries"] == len(answered.ranges) + len(answered.matches)
    assert answered.most_at_once == 1


def test_days_are_those_of_the_time_zone(
    answered: FakePrometheus, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The 24th in Berlin begins at 23:00 in UTC, and `--until` is its last day."""
    config.write_text(f"timezone: Europe/Berlin\n{config.read_text()}")
    days = date(2026, 11, 24), date(2026, 11, 24)
    options = HistoryOptions("http://p.example", config, since=days[0], until=days[1], form="json")

    assert history(options, ManualClock()) == 0
    parsed = json.loads(capsys.readouterr().out)
    assert (parsed["from"], parsed["until"]) == ("2026-11-23T23:00:00Z", "2026-11-24T23:00:00Z")
    assert parsed["months"][0]["dollars"] == 72
    assert answered.ranges


def test_days_that_begin_within_an_hour_are_read_whole(
    answered: FakePrometheus, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The 24th in India is from 18:30 to 18:30 in UTC: no half hour of it is missing."""
    config.write_text(f"timezone: Asia/Kolkata\n{config.read_text()}")
    days = date(2026, 11, 24), date(2026, 11, 24)
    options = HistoryOptions("http://p.example", config, since=days[0], until=days[1], form="json")

    assert history(options, ManualClock()) == 0
    parsed = json.loads(capsys.readouterr().out)
    assert (parsed["from"], parsed["until"]) == ("2026-11-23T18:00:00Z", "2026-11-24T19:00:00Z")
    assert parsed["months"][0]["dollars"] == 75
    assert answered.ranges


def test_records_are_written_whole_with_the_commands_that_import_them(
    answered: FakePrometheus, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No half file is left, and the commands name the file."""
    path = tmp_path / "past records.om"
    options = HistoryOptions("http://p.example", config, since=48 * HOUR, openmetrics=path)

    assert history(options, ManualClock()) == 0
    messages = capsys.readouterr().err
    assert path.read_text().endswith("# EOF\n")
    assert not path.with_name("past records.om.part").exists()
    assert f"create-blocks-from openmetrics --max-block-duration=486h '{path}'" in messages
    assert "/api/v1/import/prometheus" in messages
    assert "note:" not in messages
    assert answered.ranges


def commands(messages: str, server: str) -> list[str]:
    """What is printed for a server, in order."""
    lines = [line.strip().partition(": ") for line in messages.splitlines()]
    return [command for name, _, command in lines if name.startswith(server)]


def test_an_earlier_import_is_deleted_before_the_next(
    answered: FakePrometheus, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its ledger, which is of the address; the file's lines have the same one."""
    path = tmp_path / "past.om"
    options = HistoryOptions("http://p.example", config, since=48 * HOUR, openmetrics=path)

    assert history(options, ManualClock()) == 0
    messages = capsys.readouterr().err
    (ledger,) = set(re.findall(r'ledger="([^"]+)"', path.read_text()))
    for server, port in (("Prometheus", 9090), ("VictoriaMetrics", 8428)):
        delete, take = commands(messages, server)
        url = f"http://HOST:{port}/api/v1/admin/tsdb/delete_series"
        assert shlex.split(delete) == ["curl", "-d", f'match[]={{ledger="{ledger}"}}', url]
        assert str(path) in take
    assert "Prometheus with --web.enable-admin-api: curl" in messages
    assert answered.ranges


def test_an_earlier_import_in_the_server_is_said(
    monkeypatch: pytest.MonkeyPatch, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its ledgers are named: one may be of another address of the same server."""
    spend = {"__name__": SPEND, "ledger": "history-0123456789ab"}
    _answer_by(monkeypatch, server(({"__name__": UTILIZATION, **GPU}, spend)).answer)
    options = HistoryOptions("http://p.example", config, since=48 * HOUR, openmetrics=tmp_path / "past.om")

    assert history(options, ManualClock()) == 0
    (note,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("note:"))
    assert "has an earlier import, history-0123456789ab: delete it first" in note


def test_the_end_of_the_past_is_said(
    monkeypatch: pytest.MonkeyPatch, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first daemon of east began in the hour to 12:00: the records of its other hosts end there too."""
    series = {"__name__": UTILIZATION, **GPU}, {"__name__": SPEND, "cluster": "east"}
    _answer_by(monkeypatch, server(series, east=LAST - 13).answer)
    options = HistoryOptions("http://p.example", config, since=48 * HOUR, openmetrics=tmp_path / "past.om")

    assert history(options, ManualClock()) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if "first daemon" in line]
    text = "end at 2026-11-24 11:00Z, where its first daemon's begin: hosts without one are missing after it"
    assert notes == [f"note: records of east {text}"]


def test_a_file_that_cannot_be_written_is_said(
    answered: FakePrometheus, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder is missing; nothing is printed that looks like an answer."""
    options = HistoryOptions(
        "http://p.example", config, since=48 * HOUR, openmetrics=tmp_path / "no" / "past.om"
    )

    assert history(options, ManualClock()) == 1
    captured = capsys.readouterr()
    assert "cannot be written: No such file or directory" in captured.err
    assert captured.out == ""
    assert answered.matches


@pytest.mark.parametrize(
    ("series", "sentence"),
    [
        ((), "no GPU and no inference server in this time"),
        (
            ({"__name__": UTILIZATION, "instance": "a", "gpu": "0"},),
            "without a UUID (their labels are gpu, instance)",
        ),
    ],
)
def test_a_server_without_gpus_says_what_to_do(
    series: tuple[Mapping[str, str], ...],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One sentence, and exit 1."""
    _answer_by(monkeypatch, server(series).answer)

    assert history(HistoryOptions("http://p.example"), ManualClock()) == 1
    assert sentence in capsys.readouterr().err


def test_something_else_at_the_address_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """HTML is no Prometheus."""
    _answer_by(monkeypatch, lambda _request: httpx.Response(200, html="<html>"))

    assert history(HistoryOptions("http://p.example"), ManualClock()) == 1
    assert "answers HTTP 200 with HTML" in capsys.readouterr().err


def test_an_hour_that_is_not_whole_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    """From tomorrow on there is nothing."""
    options = HistoryOptions("http://p.example", since=date(2026, 11, 26))

    assert history(options, ManualClock()) == 1
    assert "there is no whole hour before 2026-11-25 00:00Z" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--from=/srv/archive"], "'/srv/archive' is no address: write http(s)://HOST:PORT"),
        (["--from=http://a", "--since=90"], "'90' is no time"),
        (["--from=http://a", "--since=0h"], "'0h' is not between"),
        (["--from=http://a", "--since=2026-02-30"], "'2026-02-30' is no time"),
        (["--from=http://a", "--parallel=0"], "'0' is no number from 1 to 16"),
        (["--from=http://a", "--parallel=17"], "'17' is no number from 1 to 16"),
        (["--from=http://a", "--json", "--csv"], "not allowed with"),
        ([], "--from"),
    ],
)
def test_flags_that_mean_nothing_are_refused(
    flags: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2, with what to write instead."""
    with pytest.raises(SystemExit) as exited:
        main(["history", *flags])

    assert exited.value.code == 2
    assert sentence in capsys.readouterr().err


ENERGY = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
WINDOW = "[3599999ms]"
BEGAN_OR_RESET = (
    f"(increase({ENERGY}{WINDOW}) unless last_over_time({ENERGY}{WINDOW} offset 1h))"
    f" or (increase({ENERGY}{WINDOW}) and (resets({ENERGY}{WINDOW}) > 0))"
)


def test_energy_of_time_that_is_not_charged_is_not_charged_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A host was not scraped for 10 of 48 hours, in which its counter went on.

    38 hours at 3 dollars, and in each a kilowatt-hour at one, half of it in the first after the pause. The
    other host has 48 hours.
    """
    config = tmp_path / "ice.yaml"
    rule = 'match: {gpu_model: "*H100*"}, rented: {dollars_per_gpu_hour: 3}'
    config.write_text(f"hardware: [{{{rule}, energy: {{dollars_per_kilowatt_hour: 1}}}}]\n")
    every = [float(hour) for hour in range(LAST - 49, LAST)]
    scraped = [hour for hour in every if not LAST - 18 <= hour <= LAST - 9]
    other = {**GPU, "UUID": "GPU-2", "Hostname": "node-2", "instance": "node-2:9400"}
    millijoules = 3.6e9
    answers = {
        f"avg_over_time({UTILIZATION}{WINDOW})": [
            (labels, [(hour, 50.0) for hour in hours]) for labels, hours in ((GPU, scraped), (other, every))
        ],
        f"count_over_time({UTILIZATION}{WINDOW})": [
            (labels, [(hour, 120.0) for hour in hours]) for labels, hours in ((GPU, scraped), (other, every))
        ],
        f"last_over_time({ENERGY}{WINDOW})": [
            (GPU, [(hour, (hour - LAST + 100) * millijoules) for hour in scraped])
        ],
        BEGAN_OR_RESET: [(GPU, [(scraped[0], millijoules), (scraped[31], millijoules / 2)])],
    }
    series = [{"__name__": UTILIZATION, **labels} for labels in (GPU, other)]
    _answer_by(monkeypatch, FakePrometheus(answers, (*series, {"__name__": ENERGY, **GPU})).answer)

    assert history(HistoryOptions("http://p.example", config, since=48 * HOUR), ManualClock()) == 0
    hosts = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("node-")]
    assert [host[:3] for host in hosts] == [["node-1", "151.50", "38.0"], ["node-2", "144.00", "48.0"]]


@pytest.mark.usefixtures("answered")
def test_idle_money_is_a_record_of_its_owner(config: Path, tmp_path: Path) -> None:
    """Half of a GPU at 3 dollars, at each five minutes of 48 hours."""
    path = tmp_path / "past.om"
    assert (
        history(HistoryOptions("http://p.example", config, since=48 * HOUR, openmetrics=path), ManualClock())
        == 0
    )

    owner = r'product="unassigned",team="unassigned"'
    lines = re.findall(
        rf"^inference:waste_dollars_per_hour\{{.*{owner}.*\}} (\S+) \d+$", path.read_text(), re.MULTILINE
    )
    assert lines == ["1.5"] * 48 * 12
