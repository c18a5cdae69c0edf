"""A Prometheus that lacks what is needed, refuses, or is none: a sentence says what to do."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exporter.cli import main
from tests.e2e.backfill.comparison import UNNAMED, period
from tests.e2e.backfill.conftest import FLEET, Store
from tests.e2e.backfill.exporter_series import Series, recorded, series
from tests.e2e.backfill.proxy import Fault, FaultyProxy, ProxyAnswer
from tests.e2e.backfill.stores import prometheus_of
from tests.e2e.fleet.programs import FleetPrometheus

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("backfill")]

SCRAPE = 300
HOUR = 3600


def run_verb(address: str, folder: Path, *arguments: str, config: str = FLEET.config) -> int:
    """Run the verb over the period of the three hosts; returns its exit status."""
    path = folder / "history.yaml"
    path.write_text(config, encoding="utf-8")
    return main(["history", f"--from={address}", f"--config.file={path}", *period(FLEET), *arguments])


def refused(address: str, folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one sentence of a run without an answer."""
    assert run_verb(address, folder, *arguments) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Traceback" not in printed.err
    assert len(printed.err.strip().splitlines()) == 1, printed.err
    return printed.err


@contextmanager
def filled_prometheus(folder: Path, *all_series: Series) -> Iterator[FleetPrometheus]:
    """A Prometheus with these series alone."""
    with prometheus_of(all_series, folder / "prometheus") as program:
        yield program


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetPrometheus]:
    """A Prometheus that scrapes no GPU: nodes alone."""
    up = series(
        "up", {"job": "node", "instance": "n01:9100"}, range(FLEET.begin, FLEET.end, 600), [1.0] * 432
    )
    with filled_prometheus(tmp_path_factory.mktemp("empty"), up) as program:
        yield program


def test_no_gpu_and_no_engine_names_what_to_scrape(
    empty: FleetPrometheus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exporters that would do are named."""
    message = refused(empty.url, tmp_path, capsys)

    assert "no GPU" in message
    assert "dcgm-exporter" in message


def test_a_utilization_without_a_uuid_is_no_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A relabeling dropped it: GPUs cannot be told apart, so that no GPU-hour is guessed."""
    times = range(FLEET.begin, FLEET.end, SCRAPE)
    labels = {"Hostname": "n01", "gpu": "0", "instance": "n01:9400", "job": "dcgm"}
    with filled_prometheus(
        tmp_path, series("DCGM_FI_DEV_GPU_UTIL", labels, times, [40.0] * len(times))
    ) as program:
        status = run_verb(program.url, tmp_path)
    printed = capsys.readouterr()

    assert status == 1
    assert "UUID" in printed.out + printed.err


def test_months_are_those_of_the_configured_time_zone(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """September ends four hours later in New York; `second` holds one GPU at 0.80 + 1.10 / 4 dollars an hour.

    The days asked for are New York's too: from 04:00Z on the 29th, when 44 hours of September are left.
    """
    config = FLEET.config.replace("timezone: UTC", "timezone: America/New_York")
    assert run_verb(store("prometheus", SCRAPE).url, tmp_path, "--json", config=config) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    (second,) = (one for one in document["servers"] if one["server"] == "second")

    assert document["timezone"] == "America/New_York"
    assert document["from"] == "2026-09-29T04:00:00Z"
    assert {one["month"]: round(one["dollars"], 2) for one in second["months"]} == {
        "2026-09": 51.6,  # 48 h x 1.075
        "2026-10": 21.5,  # 20 h, to the end of what was recorded
    }


def test_a_retention_that_ends_in_the_middle_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Samples begin at noon of the second day: 36 of 72 hours, and a month that is not whole."""
    since = FLEET.begin + 36 * HOUR
    retained = []
    for one in recorded(replace(FLEET, hosts=FLEET.hosts[2:]), SCRAPE):
        first = next((n for n, at in enumerate(one.times) if at >= since), len(one.times))
        retained.append(replace(one, times=one.times[first:], values=one.values[first:]))
    with filled_prometheus(tmp_path, *(one for one in retained if one.times)) as program:
        assert run_verb(program.url, tmp_path, "--json") == 0
        document = json.loads(capsys.readouterr().out)
        assert run_verb(program.url, tmp_path) == 0
    text = capsys.readouterr().out
    september, october = document["months"]

    assert (september["complete"], september["gpu_hours"]) == (False, pytest.approx(4 * 12, abs=0.5))
    assert october["gpu_hours"] == pytest.approx(4 * 24, abs=0.5)
    assert "2026-09-30T12:00" in json.dumps(document["hosts"])
    assert any("2026-09-30" in one["what"] + one["effect"] for one in document["lacks"]), document["lacks"]
    assert "2026-09-30" in text


@pytest.mark.nightly
def test_a_limit_of_samples_is_kept_by_smaller_queries(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """HTTP 422 of a Prometheus that loads few samples: the same figures, by smaller parts.

    Prometheus counts what it holds at once: an hour's samples of one series, and the answer so far.
    """
    whole = store("prometheus", SCRAPE)
    assert isinstance(whole, FleetPrometheus)
    assert run_verb(whole.url, tmp_path, "--json") == 0
    expected = json.loads(capsys.readouterr().out)
    limited = FleetPrometheus(tmp_path / "limited", "{}", ("--query.max-samples=500",), retention="10y")
    limited.data.rmdir()
    limited.data.symlink_to(_copy(whole.data, tmp_path / "data"))
    with limited, FaultyProxy(limited.url) as proxy:
        assert run_verb(proxy.url, tmp_path, "--json") == 0
        document = json.loads(capsys.readouterr().out)

    assert 422 in proxy.failures
    assert document["months"] == expected["months"]
    assert proxy.most == 1


def _copy(data: Path, into: Path) -> Path:
    """The blocks of a Prometheus that runs, without its lock and its log."""
    shutil.copytree(data, into, ignore=shutil.ignore_patterns("lock", "wal", "chunks_head", "queries.active"))
    return into


@pytest.mark.nightly
def test_a_limit_below_one_hour_says_which_flag_to_raise(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An hour of one series has 12 samples: no part is small enough."""
    whole = store("prometheus", SCRAPE)
    assert isinstance(whole, FleetPrometheus)
    limited = FleetPrometheus(tmp_path / "limited", "{}", ("--query.max-samples=10",), retention="10y")
    limited.data.rmdir()
    limited.data.symlink_to(_copy(whole.data, tmp_path / "data"))
    with limited:
        message = refused(limited.url, tmp_path, capsys)

    assert "--query.max-samples" in message


LOGIN = ProxyAnswer(200, b"<html><title>Sign in</title></html>", "text/html; charset=utf-8")
BAD: dict[str, tuple[ProxyAnswer, str]] = {
    "a login page": (LOGIN, "HTML"),
    "a redirect to one": (ProxyAnswer(302, b"", "text/html", "http://127.0.0.1/login"), "HTTP 302"),
    "no permission": (ProxyAnswer(403, b'{"status":"error","error":"forbidden"}'), "--http.config.file"),
    "half an answer": (ProxyAnswer(200, b'{"status":"success","data":[{"__na'), "no JSON"),
    "another API": (ProxyAnswer(404, b'{"message":"Not found"}'), "give the address of a Prometheus"),
    "a shape of its own": (ProxyAnswer(200, b'{"status":"success","data":{"result":7}}'), "form of the API"),
    "a part of it": (
        ProxyAnswer(200, b'{"status":"success","isPartial":true,"data":[]}'),
        "the answer is partial",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_an_answer_that_is_none_is_one_sentence(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where it came from and what to do; no number is printed."""
    answer, part = BAD[case]
    with FaultyProxy(fault=lambda _path: answer) as proxy:
        message = refused(proxy.url, tmp_path, capsys)

    assert part in message
    assert proxy.url in message


def test_an_answer_that_fails_halfway_prints_nothing(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was found is there, and an hour is not: half a month would look like a cheap one."""
    fault: Fault = lambda path: LOGIN if "query_range" in path else None  # noqa: E731 - a fault is a function
    with FaultyProxy(store("prometheus", SCRAPE).url, fault) as proxy:
        message = refused(proxy.url, tmp_path, capsys, "--json")

    assert "HTML" in message
    assert proxy.most == 1, "one query at a time"


@pytest.mark.nightly
def test_a_server_that_never_answers_names_the_flag(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each query ends after --timeout."""
    with FaultyProxy(fault=lambda _path: ProxyAnswer(0, b"")) as proxy:
        message = refused(proxy.url, tmp_path, capsys, "--timeout=1s")
        proxy.leave()

    assert "--timeout" in message


def test_nothing_is_there_in_the_range(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Days before the first sample."""
    arguments = ["--since=2026-08-01", "--until=2026-08-31"]
    path = tmp_path / "history.yaml"
    path.write_text(FLEET.config, encoding="utf-8")
    address = store("prometheus", SCRAPE).url

    assert main(["history", f"--from={address}", f"--config.file={path}", *arguments]) == 1
    assert "older samples" in capsys.readouterr().err


def test_servers_that_no_label_ties_to_a_gpu_are_unattributed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two servers on one plain host without `gpus`: the money is the host's, and no server's."""
    config = FLEET.config.partition("servers:")[0]
    lone = replace(FLEET, hosts=FLEET.hosts[2:])
    with filled_prometheus(tmp_path, *recorded(lone, SCRAPE)) as program:
        assert run_verb(program.url, tmp_path, "--json", config=config) == 0
    document = json.loads(capsys.readouterr().out)
    dollars = {
        one["server"]: sum(month["dollars"] or 0 for month in one["months"]) for one in document["servers"]
    }

    assert dollars.pop("unattributed") == pytest.approx(4 * 72 * 1.075, rel=0.005)
    assert all(
        name in ("vllm:8011", "vllm:8012", *UNNAMED) and not amount for name, amount in dollars.items()
    )
    assert any("gpus" in one["remedy"] for one in document["lacks"])
