"""How the daemon starts and reloads, as far as its log and its files tell."""

import logging
import re
import shlex
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from exporter.cli.adjust import AdjustFlags, adjust
from exporter.cli.arguments import program
from exporter.cli.serve import ServeFlags, _Daemon
from exporter.clock import SystemClock
from exporter.config import Config, ConfigError, load
from exporter.config.settings import DEFAULT_LEDGER, cost_policy
from exporter.cost.postings import CostOwner, GpuTimePosting, MoneyPosting, OwnerPhase, Postings, Segment
from exporter.cost.state import State
from exporter.garbage import GarbageCollection
from exporter.ledger import files
from exporter.ledger.ledger import Ledger
from exporter.readings import Gpu, HostLocation
from exporter.reports.correction_proposals import NOTHING
from exporter.tariff.quotes import Quote

ROOT = Path(__file__).parents[2]


def test_a_start_that_cannot_listen_leaves_nothing_behind(tmp_path: Path) -> None:
    """No ledger and no lock: they would be of whoever tried, root perhaps."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [
                *(sys.executable, "-m", "exporter"),
                f"--web.listen-address=127.0.0.1:{port}",
                f"--ledger.path={tmp_path}/var/ledger.db",
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert done.returncode == 1
    assert 'level=error msg="cannot listen"' in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "# no key\n"])
def test_a_start_by_an_empty_file_warns(tmp_path: Path, text: str) -> None:
    """The daemon then runs without a configuration, which comments alone say is meant."""
    file = tmp_path / "ice.yaml"
    file.write_text(text)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [
                *(sys.executable, "-m", "exporter"),
                f"--config.file={file}",
                f"--web.listen-address=127.0.0.1:{port}",
                f"--ledger.path={tmp_path}/var/ledger.db",
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    warning = f'level=warning msg="configuration file empty" path={file} effect="every key has its default"\n'
    assert (warning in done.stderr) is (text == "")


def test_the_terms_of_a_host_know_where_it_runs() -> None:
    """Without a file an H100 costs 55.04 / 8 on a p5.48xlarge, its market price where nothing is known."""
    h100 = Gpu("GPU-a", "NVIDIA H100 80GB HBM3")
    location = HostLocation(cloud="aws", instance_type="p5.48xlarge", region="us-east-1")
    known = cost_policy(Config(), "h", location).tariff.quote(h100)
    unknown = cost_policy(Config(), "h").tariff.quote(h100)

    assert isinstance(known, Quote)
    assert (float(known.dollars_per_hour), known.devices, known.price_basis) == (55.04, 8, "catalogue")
    assert isinstance(unknown, Quote)
    assert (float(unknown.dollars_per_hour), unknown.devices, unknown.price_basis) == (3.875, 1, "estimate")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "ice.yaml"
    file.write_text("interval: 10s\n")
    return file


@pytest.fixture
def daemon(file: Path) -> _Daemon:
    """One that has not begun: it still waits for its ledger, say."""
    return _Daemon(ServeFlags(file, "127.0.0.1:0", None), load(file), SystemClock())


def test_a_reload_that_fails_is_logged_once_whoever_asked(
    daemon: _Daemon, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller gets the error, and the log one line with it."""
    file.write_text("intervall: 10s\n")
    with pytest.raises(ConfigError):
        daemon.reload()

    (record,) = caplog.records
    assert record.getMessage() == "configuration reload failed; keeping the previous one"
    assert vars(record)["problem"].startswith(f"{file}:1:1: intervall: unknown key")

    daemon._reload_quietly()
    assert len(caplog.records) == 2


@pytest.mark.parametrize("text", ["", "\n", "# interval: 10s\n", "---\n", "null\n", "{}\n"])
def test_a_reload_of_a_file_without_a_key_keeps_the_configuration(
    daemon: _Daemon, file: Path, text: str
) -> None:
    """A full disk empties a file: its prices stay in force, and the alert on failed reloads fires."""
    before = daemon._config
    file.write_text(text)

    with pytest.raises(ConfigError) as refused:
        daemon.reload()

    assert str(refused.value) == f"{file}: has no key; to run without a configuration, restart"
    assert daemon._config is before
    assert not daemon._succeeded


def test_a_file_without_a_key_may_follow_another(file: Path) -> None:
    """Where the configuration in force has no key either, nothing is lost."""
    file.write_text("")
    daemon = _Daemon(ServeFlags(file, "127.0.0.1:0", None), load(file), SystemClock())
    file.write_text("# nothing yet\n")
    daemon.reload()

    assert daemon._succeeded


def test_a_reload_during_the_wait_for_the_ledger_is_taken(
    daemon: _Daemon, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The page is served before the books are open, so a reload may come before them too."""
    caplog.set_level("INFO")
    file.write_text("interval: 5s\n")
    daemon.reload()

    assert [record.getMessage() for record in caplog.records] == ["configuration reloaded"]
    assert daemon._config.interval == 5 * 10**9
    assert daemon._current() is None


NOON = 1_795_608_000 * 10**9
"""2026-11-25T12:00:00Z."""

GPU = "GPU-00000000-0000-4000-8000-000000000000"
PRICED = """\
hardware:
  - match: {gpu_model: H100}
    rented: {prices: [{from: 2026-11-25, dollars_per_gpu_hour: %s}]}
"""


class Noon(SystemClock):
    """The wall stands at noon."""

    def wall(self) -> int:
        return NOON


def after_noon(file: Path, ledger: Path, uuid: str = "GPU-0") -> _Daemon:
    """A daemon whose ledger has 12 hours of one GPU at 3.60 dollars."""
    gpu, slot = Gpu(uuid, "H100"), OwnerPhase(CostOwner("chat", "assistants", "", "chat", "m"), "decode")
    paid = MoneyPosting(gpu, "rent", "configured", slot, 432 * 10**11)
    gpu_time = GpuTimePosting(gpu, slot, 12 * 3600 * 10**9, chargeable=12 * 3600 * 10**9)
    segment = Segment(
        NOON - 12 * 3600 * 10**9, NOON, "2026-11", "2026-11-25", paid.amount, (paid,), (gpu_time,)
    )
    file.write_text(PRICED % "3.60")
    daemon = _Daemon(ServeFlags(file, "127.0.0.1:0", ledger), load(file), Noon())
    daemon._ledger = Ledger.open(ledger, Noon())
    daemon._ledger.post(Postings(NOON, (segment,), day="2026-11-25"), State(wall=NOON, accrued=paid.amount))
    return daemon


def commands(printed: str) -> list[list[str]]:
    """The words of the lines that a shell would run."""
    return [shlex.split(line) for line in printed.splitlines() if not line.startswith("#")]


def enter(words: list[str], reason: str | None = None) -> int:
    """Run a printed line, with another reason where one is given."""
    assert words[:2] == ["inference-cost-exporter", "adjust"]
    chosen = program().parse_args(words[1:])
    fields = (chosen.amount, chosen.date, chosen.product, chosen.team, reason or chosen.reason, chosen.key)
    return adjust(AdjustFlags(chosen.config_file, chosen.ledger_path, *fields), Noon())


def test_a_reload_tells_what_is_posted_at_other_prices(
    file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """12 hours at 3.60 were 43.20 and would be 34.56: caller and log get the verb that prints the line."""
    ledger = tmp_path / "ledger.db"
    daemon = after_noon(file, ledger)
    file.write_text(PRICED % "2.88")
    notice = daemon.reload()
    again = daemon.reload()
    assert adjust(AdjustFlags(file, ledger, proposals=True), Noon()) == 0
    proposals = capsys.readouterr().out
    assert daemon._ledger is not None
    daemon._ledger.close()

    first, verb = notice.splitlines()
    assert first.startswith("43.20 dollars are posted for 1 GPU since 2026-11-25T00:00:00+00:00 and stay")
    assert verb.startswith(
        f"`inference-cost-exporter adjust --config.file={file} --ledger.path={ledger} --prop"
    )
    assert proposals.splitlines()[-1] == (
        f"inference-cost-exporter adjust --config.file={file} --ledger.path={ledger} --amount=-8.64"
        " --date=2026-11-25 --product=chat --team=assistants --key=repricing/2026-11-25/1"
        " --reason='prices since 2026-11-25 were changed afterwards'"
    )
    page = (Path(__file__).parents[2] / "docs" / "daemon.md").read_text(encoding="utf-8")
    for printed in (f"reloaded\n{notice}\n", proposals):
        shown = printed.replace(str(file), "/etc/ice.yaml").replace(str(ledger), str(DEFAULT_LEDGER))
        assert f"\n{shown}```\n" in page
    warned = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [vars(record)["told"] for record in warned] == [first, verb]
    assert again == ""


def test_the_line_that_is_proposed_corrects_the_month(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pasted as it is: nothing is left to propose, and at the next tick the month is as it should be."""
    ledger = tmp_path / "ledger.db"
    daemon = after_noon(file, ledger)
    file.write_text(PRICED % "2.88")
    daemon.reload()
    adjust(AdjustFlags(file, ledger, proposals=True), Noon())
    (line,) = commands(capsys.readouterr().out)
    assert enter(line) == 0
    assert capsys.readouterr().err == ""
    assert adjust(AdjustFlags(file, ledger, proposals=True), Noon()) == 0
    assert capsys.readouterr().out == f"# {NOTHING}\n"
    assert daemon._ledger is not None
    daemon._ledger.post(Postings(NOON), State(wall=NOON, accrued=432 * 10**11))
    committed = daemon._ledger.totals(NOON, ("2026-11",))
    assert adjust(AdjustFlags(file, ledger, proposals=True), Noon()) == 0
    assert capsys.readouterr().out == f"# {NOTHING}\n"
    daemon._ledger.close()

    assert (sum(committed.months.values()), committed.residual) == (3456 * 10**10, 0)


def test_a_line_is_entered_once_whatever_its_reason(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A ticket's number before the reason hides nothing, and the same line with another one is refused."""
    ledger = tmp_path / "ledger.db"
    daemon = after_noon(file, ledger)
    file.write_text(PRICED % "2.88")
    adjust(AdjustFlags(file, ledger, proposals=True), Noon())
    (line,) = commands(capsys.readouterr().out)
    assert enter(line, "FIN-1 what the provider agreed to") == 0
    assert daemon.reload() == ""
    assert adjust(AdjustFlags(file, ledger, proposals=True), Noon()) == 0
    assert capsys.readouterr().out.endswith(f"# {NOTHING}\n")
    assert enter(line, "FIN-1 once more") == 2
    assert daemon._ledger is not None
    daemon._ledger.close()

    assert capsys.readouterr().err == (
        "adjustment 1 has the key repricing/2026-11-25/1: nothing was entered; "
        "`adjust --proposals` prints what is still missing\n"
    )


def test_prices_that_change_twice_are_corrected_once(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """3.60, then 2.88, whose line is entered, then 2.40: 12 hours are 28.80, so that 5.76 more come off.

    Beside a daemon that was told its files by their names alone, the lines name them whole, and the ledger
    that the daemon has whatever the file says by then.
    """
    ledger = tmp_path / "ledger.db"
    daemon = after_noon(file, ledger)
    monkeypatch.chdir(tmp_path)
    daemon._flags = ServeFlags(Path(file.name), "127.0.0.1:0", None)
    for price in ("2.88", "2.40"):
        file.write_text(PRICED % price)
        notice = daemon.reload()
        (verb,) = re.findall("`(.*)`", notice)
        chosen = program().parse_args(shlex.split(verb)[1:])
        assert (chosen.proposals, chosen.config_file, chosen.ledger_path) == (True, file, ledger)
        assert adjust(AdjustFlags(chosen.config_file, chosen.ledger_path, proposals=True), Noon()) == 0
        (line,) = commands(capsys.readouterr().out)
        assert enter(line) == 0
        capsys.readouterr()
    assert "Corrections of changed prices that were entered before, -8.64 dollars, are taken off." in notice
    assert line[-2] == "--key=repricing/2026-11-25/2"
    assert daemon._ledger is not None
    daemon._ledger.post(Postings(NOON), State(wall=NOON, accrued=432 * 10**11))
    committed = daemon._ledger.totals(NOON, ("2026-11",))
    daemon._ledger.close()

    assert sum(committed.months.values()) == 2880 * 10**10


def test_prices_that_changed_while_it_was_stopped(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A restart says nothing of the past; the verb does, for it compares what is posted with the file."""
    ledger = tmp_path / "ledger.db"
    daemon = after_noon(file, ledger)
    file.write_text(PRICED % "2.88")
    daemon._config = load(file)  # as a restart would begin

    assert daemon.reload() == ""
    assert adjust(AdjustFlags(file, ledger, proposals=True), Noon()) == 0
    assert " --amount=-8.64 --date=2026-11-25 --product=chat " in capsys.readouterr().out
    assert daemon._ledger is not None
    daemon._ledger.close()


def test_a_ledger_that_cannot_be_read_costs_no_reload(
    file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The new prices are in force; the log says why nothing is told of the old ones."""
    daemon = after_noon(file, tmp_path / "ledger.db")
    daemon._ledger_path = tmp_path / "gone.db"
    file.write_text(PRICED % "2.88")

    assert daemon.reload() == ""
    (warned,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert warned.getMessage() == "price corrections unavailable"
    assert vars(warned)["problem"].startswith(f"{tmp_path}/gone.db: there is no ledger here")
    assert daemon._ledger is not None
    daemon._ledger.close()


def test_a_reload_tells_what_is_posted_of_a_gpu_that_had_left(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Out since midnight: twelve hours, 43.20 dollars, are to be taken off; then it is silent."""
    ledger = tmp_path / "ledger.db"
    daemon = after_noon(file, ledger, GPU)
    file.write_text(PRICED % "3.60" + f"retired: [{{uuid: {GPU}, from: 2026-11-25}}]\n")
    notice = daemon.reload()
    again = daemon.reload()
    assert adjust(AdjustFlags(file, ledger, proposals=True), Noon()) == 0
    (line,) = commands(capsys.readouterr().out)
    assert daemon._ledger is not None
    daemon._ledger.close()

    assert notice.splitlines()[0] == (
        "43.20 dollars are posted for 1 GPU since 2026-11-25T00:00:00+00:00 and stay posted; by the dated "
        "prices it would have been 0.00."
    )
    assert line[4:8] == ["--amount=-43.20", "--date=2026-11-25", "--product=chat", "--team=assistants"]
    assert again == ""


def test_whatever_else_fails_to_close_the_ledger_is_written_and_let_go(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure at the end is raised once every part was closed, the ledger last."""
    path = tmp_path / "ledger.db"
    file.write_text("discovery: {cloud: off, processes: false}\n")
    daemon = _Daemon(ServeFlags(file, "127.0.0.1:0", path), load(file), SystemClock())
    closed = []

    def broken(name: str) -> None:
        closed.append(name)
        raise RuntimeError(name)

    (nvml,) = daemon._gpu_sources
    parts = {
        "web": daemon._web,
        "location": daemon._location,
        "gatherer": daemon._gatherer,
        "nvml": nvml,
        "endpoints": daemon._endpoints,
        "gateways": daemon._gateways,
        "discovery": daemon._discovery,
    }
    for name, part in parts.items():
        close = part.close
        monkeypatch.setattr(part, "close", lambda name=name, close=close: (close(), broken(name)))
    stop = threading.Event()
    monkeypatch.setattr("exporter.cli.serve.signal.signal", lambda *_: None)
    monkeypatch.setattr(daemon, "_prepare", stop.set)
    with pytest.raises(RuntimeError, match="discovery"):
        daemon.run(stop)
    assert closed == list(parts)
    assert daemon._ledger is not None
    assert (daemon._ledger._closed, files.lock_holder(path)) == (True, "")


def test_each_tick_counts_towards_a_collection(daemon: _Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else free lists of tuples grow for days: nothing else searches all objects."""
    calls: list[None] = []
    monkeypatch.setattr(GarbageCollection, "note_tick", lambda _: calls.append(None))
    for _ in range(3):
        daemon._prepare()

    assert len(calls) == 3
