"""`--from FOLDER` with files of one ledger that both went on, as after a machine's image was cloned."""

import contextlib
import csv
import io
import json
import re
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from exporter.cli import main
from exporter.cost.postings import Postings
from exporter.cost.state import State
from tests.finance.fleet.host_months import EMBED
from tests.finance.fleet.ledger_files import MeteredHost
from tests.kit.units import DAY, DOLLAR, HOUR, OCTOBER

HALF = HOUR // 2


def report(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["report", *arguments])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def month(capsys: pytest.CaptureFixture[str], folder: Path, *more: str) -> dict[str, Any]:
    status, out, err = report(capsys, "month", "--month=2026-10", f"--from={folder}", "--json", *more)
    assert (status, err) == (0, "")
    document: dict[str, Any] = json.loads(out)
    return document


def amounts(document: dict[str, Any], label: str = "product") -> dict[str, float]:
    return {row[label]: row["dollars"] for row in document["rows"]}


def findings(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [(each["kind"], Path(each["location"]).name) for each in document["missing"]]


@pytest.fixture
def image(tmp_path: Path) -> MeteredHost:
    """A machine of one GPU at 4 dollars an hour, in the folder, up to 15 October."""
    return MeteredHost(tmp_path / "fleet" / "img-1.db", "GPU-1").meter(OCTOBER, 14, 96 * DOLLAR, step=DAY)


@pytest.mark.parametrize("later", ["img-1", "img-2"])
def test_a_clone_that_went_on_is_in_the_total(
    later: str, image: MeteredHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """2,976 of the machine and 1,632 of the clone, whichever has the later commit."""
    folder = tmp_path / "fleet"
    clone = image.clone(folder / "img-2.db", "GPU-2")
    for host in (image, clone):
        host.meter(OCTOBER + 14 * DAY, 17 * 24 - 1, 4 * DOLLAR)
    order = (image, clone) if later == "img-2" else (clone, image)
    for number, host in enumerate(order):
        host.meter(OCTOBER + 31 * DAY - HOUR, 1, 4 * DOLLAR)
        host.clock.now += number
        host.ledger.post(
            Postings(host.clock.now, (), day="2026-10-31"), State(wall=host.clock.now, accrued=host.posted)
        )
        host.close()
    status, out, _err = report(capsys, "month", "--month=2026-10", f"--from={folder}")

    assert status == 0
    assert re.search(r"^total +4,608\.00 ", out, re.MULTILINE)
    earlier = "img-1" if later == "img-2" else "img-2"
    assert out.splitlines()[2:6] == [
        "CHECK: 1 of 1 hosts",
        "",
        (
            "Forks: files of one ledger that both went on; what only the earlier one has is in the total "
            "(1, 408.0000 hours, 1,632.00 dollars)"
        ),
        (
            f"  {earlier} ({ledger_of(image)}): {folder}/{earlier}.db and {folder}/{later}.db part at "
            "2026-10-15T00:00:00Z; 408.0000 GPU-hours and 1,632.00 dollars are of the first alone"
        ),
    ]
    by_gpu = month(capsys, folder, "--by=gpu")
    assert amounts(by_gpu, "uuid") == {"GPU-1": 2976.0, "GPU-2": 1632.0}
    status, out, _err = report(capsys, "focus", "--month=2026-10", f"--from={folder}")
    assert round(sum(float(row["BilledCost"]) for row in csv.DictReader(io.StringIO(out))), 6) == 4608
    status, out, _err = report(
        capsys, "chargeback", "--month=2026-10", f"--from={folder}", "--by=day", "--json"
    )
    days = amounts(json.loads(out), "day")
    assert (days["2026-10-14"], days["2026-10-15"], days["2026-10-31"]) == (96.0, 192.0, 192.0)


def ledger_of(host: MeteredHost) -> str:
    with contextlib.closing(sqlite3.connect(host.path)) as connection:
        (ledger,) = connection.execute("SELECT value FROM meta WHERE key = 'ledger'").fetchone()
    return str(ledger)[:8]


def test_a_closed_month_with_a_fork(
    image: MeteredHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """14 days of 96 dollars, then two days of both: the statement has 1,728, and nothing changed since."""
    folder, statement = tmp_path / "fleet", tmp_path / "closed.json"
    clone = image.clone(folder / "img-2.db", "GPU-2")
    for host in (image, clone):
        host.meter(OCTOBER + 14 * DAY, 2, 96 * DOLLAR, step=DAY).close()
    status, out, _err = report(
        capsys, "month", "--month=2026-10", f"--from={folder}", "--close", f"--output={statement}"
    )
    assert (status, out) == (0, f"2026-10 is closed: 1,728.00 dollars of 1 ledger in {statement}\n")
    status, out, _err = report(capsys, "month", f"--against={statement}", f"--from={folder}", "--json")
    assert json.loads(out)["changes"] == []
    shutil.rmtree(folder)
    assert month(capsys, statement)["total"]["dollars"] == 1728.0


def test_they_part_within_an_hour(
    image: MeteredHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """1,344 dollars of both, then 2 of half an hour, then half an hour and one hour each: 6 of chat on the
    machine, and 3 and 6 of search on the clone. All are counted, and those of search are search's.
    """
    folder, at = tmp_path / "fleet", OCTOBER + 14 * DAY
    image.meter(at, 1, 2 * DOLLAR, step=HALF)
    clone = image.clone(folder / "img-2.db", "GPU-2")
    clone.meter(at + HALF, 1, 3 * DOLLAR, step=HALF, owner=EMBED).meter(at + HOUR, 1, 6 * DOLLAR, owner=EMBED)
    image.meter(at + HALF, 1, 2 * DOLLAR, step=HALF).meter(at + HOUR, 1, 4 * DOLLAR)
    for host in (clone, image):
        host.close()
    document = month(capsys, folder)

    assert document["total"]["picodollars"] == 1361 * DOLLAR
    assert amounts(document) == {"chat": 1352.0, "search": 9.0}
    (fork,) = [each for each in document["missing"] if each["kind"] == "fork"]
    assert (fork["time"], fork["hours"], fork["picodollars"]) == ("2026-10-15T00:00:00Z", 1.5, 9 * DOLLAR)
    assert document["total"]["gpu_seconds"] == (14 * 24 + 2 + 1.5) * 3600
    assert document["hosts"][0]["metered_hours"] == 14 * 24 + 2 + 1.5


def test_days_whose_hours_are_gone(
    image: MeteredHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After 40 days a ledger has days alone: the day on which they part counts for both GPUs."""
    folder, at = tmp_path / "fleet", OCTOBER + 14 * DAY
    image.meter(at, 12, 4 * DOLLAR)
    clone = image.clone(folder / "img-2.db", "GPU-2")
    for host in (image, clone):
        path = host.meter(at + 12 * HOUR, 36, 4 * DOLLAR).close()
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            for table in ("cost", "held", "server_cost", "gpu_cost", "gpu_held", "owner_held", "tokens"):
                connection.execute(f"DELETE FROM hourly_{table}")  # noqa: S608 - names of ours
    document = month(capsys, folder)

    assert document["total"]["picodollars"] == (14 * 96 + 48 + 2 * 36 * 4) * DOLLAR
    (fork,) = [each for each in document["missing"] if each["kind"] == "fork"]
    assert (fork["time"], fork["hours"]) == ("2026-10-15T00:00:00Z", 36.0)


def test_three_clones(image: MeteredHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And an early copy, which has nothing of its own."""
    folder, at = tmp_path / "fleet", OCTOBER + 14 * DAY
    clones = [image.clone(folder / f"img-{number}.db", f"GPU-{number}") for number in (2, 3)]
    image.clone(folder / "early.db", "GPU-1").close()
    for host in (image, *clones):
        host.meter(at, 3, 4 * DOLLAR).close()
    document = month(capsys, folder)

    assert document["total"]["picodollars"] == (14 * 96 + 3 * 12) * DOLLAR
    kinds = [each["kind"] for each in document["missing"]]
    assert (kinds.count("fork"), kinds.count("copy")) == (2, 1)
    assert amounts(month(capsys, folder, "--by=gpu"), "uuid") == {
        "GPU-1": 1356.0,
        "GPU-2": 12.0,
        "GPU-3": 12.0,
    }


def test_a_machine_that_was_switched_off_is_named(
    image: MeteredHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The clone goes on to the end; the first machine stopped after a day, which is in no other file."""
    folder, at = tmp_path / "fleet", OCTOBER + 14 * DAY
    clone = image.clone(folder / "img-2.db", "GPU-2")
    image.meter(at, 24, 4 * DOLLAR).close()
    clone.meter(at, 17, 96 * DOLLAR, step=DAY).close()
    document = month(capsys, folder)

    assert document["total"]["dollars"] == 14 * 96 + 96 + 17 * 96
    assert findings(document) == [("silent", "img-1.db"), ("fork", "img-1.db")]
    assert document["missing"][0]["hours"] == 16 * 24


def test_gpus_that_two_machines_never_listed(
    image: MeteredHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two GPUs a machine at 4 dollars, one of them never listed; in two hours neither lists any.

    1,344 dollars and 336 hours of the image, then 12 hours of each machine: 2 x 12 x 2 x 4 dollars. The clone
    misses an hour, and the machine two.
    """
    folder, at = tmp_path / "fleet", OCTOBER + 14 * DAY
    clone = image.clone(folder / "img-2.db", "GPU-2")
    for host, pause in ((clone, 1), (image, 2)):
        host.meter(at, 3, 4 * DOLLAR, gpus=(host.gpu.uuid, "unseen"))
        host.meter(at + 3 * HOUR, 2, 4 * DOLLAR, gpus=("unseen", "unseen"))
        host.meter(at + (5 + pause) * HOUR, 7, 4 * DOLLAR, gpus=(host.gpu.uuid, "unseen")).close()
    document = month(capsys, folder)

    assert document["total"]["picodollars"] == (1344 + 2 * 12 * 2 * 4) * DOLLAR
    assert document["total"]["gpu_seconds"] == (336 + 2 * 12 * 2) * 3600
    assert document["hosts"][0]["metered_hours"] == 336 + 2 * 12
    assert "360.0000 host-hours are metered" in document["notes"]
    by_kind = {each["kind"]: each for each in document["missing"]}
    assert by_kind["unmetered"]["hours"] == 2
    assert (by_kind["fork"]["hours"], by_kind["fork"]["picodollars"]) == (24, 96 * DOLLAR)


def test_a_machine_that_was_restored_has_its_unseen_gpu_once(
    image: MeteredHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten hours of two GPUs before the loss; the restored ledger charged four of them as downtime."""
    folder, at = tmp_path / "fleet", OCTOBER + 14 * DAY
    restored = image.clone(folder / "ledger.db", "GPU-1")
    for host, start, hours in ((image, 0, 10), (restored, 6, 18)):
        host.meter(at + start * HOUR, hours, 4 * DOLLAR, gpus=("GPU-1", "unseen")).close()
    document = month(capsys, folder)

    assert document["total"]["picodollars"] == (1344 + 24 * 2 * 4) * DOLLAR
    assert document["hosts"][0]["metered_hours"] == 336 + 24
    assert [each["kind"] for each in document["missing"]] == ["silent", "fork"]


def test_a_restored_ledger_is_no_fork(
    image: MeteredHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The copy of yesterday was put back, and charged the time since as downtime: each hour counts once."""
    folder, at = tmp_path / "fleet", OCTOBER + 14 * DAY
    restored = image.clone(folder / "ledger.db", "GPU-1")
    image.meter(at, 24, 4 * DOLLAR).close()
    restored.meter(at, 48, 4 * DOLLAR).close()
    document = month(capsys, folder)

    assert document["total"]["dollars"] == 14 * 96 + 48 * 4
    assert findings(document) == [("silent", "ledger.db"), ("copy", "img-1.db")]


def test_hours_that_a_restored_ledger_lacks(
    image: MeteredHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten hours were metered before the loss, and are in the old file alone."""
    folder, at = tmp_path / "fleet", OCTOBER + 14 * DAY
    restored = image.clone(folder / "ledger.db", "GPU-1")
    image.meter(at, 10, 4 * DOLLAR).close()
    restored.meter(at + 12 * HOUR, 12, 4 * DOLLAR).close()
    document = month(capsys, folder)

    assert document["total"]["dollars"] == 14 * 96 + 22 * 4
    assert ("fork", "img-1.db") in findings(document)


def test_an_adjustment_of_the_other_file(
    image: MeteredHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A refund of 5 dollars that only the earlier file has."""
    folder, at = tmp_path / "fleet", OCTOBER + 14 * DAY
    clone = image.clone(folder / "img-2.db", "GPU-2")
    fields = ["--amount=-5", "--date=2026-10-15", "--product=chat", "--team=assistants", "--reason=refund"]
    assert main(["adjust", *fields, f"--ledger.path={image.path}"]) == 0
    image.meter(at, 1, 4 * DOLLAR).close()
    clone.meter(at, 2, 4 * DOLLAR).close()
    capsys.readouterr()
    document = month(capsys, folder)

    assert document["total"]["dollars"] == 14 * 96 + 4 + 8 - 5
    assert [each["dollars"] for each in document["adjustments"]] == [-5.0]


def test_money_without_a_day_is_not_added_up_with_a_fork(
    image: MeteredHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The later file lost its history: its money may be that of the earlier one's hours."""
    folder, at = tmp_path / "fleet", OCTOBER + 14 * DAY
    clone = image.clone(folder / "img-2.db", "GPU-2")
    image.meter(at, 1, 4 * DOLLAR).close()
    path = clone.meter(at, 2, 4 * DOLLAR).close()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for table in ("cost", "server_cost", "gpu_cost", "gpu_held"):
            connection.execute(f"DELETE FROM daily_{table} WHERE day < 20261005")  # noqa: S608 - as above
    status, out, err = report(capsys, "month", "--month=2026-10", f"--from={folder}")

    assert (status, out) == (1, "")
    assert f"{folder}/img-1.db has time of ledger" in err
    assert "and money there has no known day: remove the wrong one" in err
