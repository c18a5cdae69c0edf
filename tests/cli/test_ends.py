"""Hosts that were given back: their months are complete once somebody says when they ended."""

import csv
import http.server
import io
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from exporter.cli import main
from exporter.finance.prometheus.nodes import SCRAPES
from tests.finance.fleet.ledger_files import MeteredHost, october
from tests.finance.fleet.test_statement_schema import VALIDATOR
from tests.kit.units import DOLLAR, HOUR, MINUTE, OCTOBER, SECOND

KNOWN = (
    "Nothing is missing: each host is metered and priced for all of its time until its end, which is known."
)

LastScrapes = dict[tuple[str, str], int]
"""The last scrape of each node by cluster and name; each was there from the month's first minute on."""


def report(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["report", *arguments])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def month(capsys: pytest.CaptureFixture[str], folder: Path, *more: str) -> dict[str, Any]:
    status, out, err = report(capsys, "month", "--month=2026-10", f"--from={folder}", "--json", *more)
    assert (status, err) == (0, "")
    document: dict[str, Any] = json.loads(out)
    return document


def named(path: Path, host: str, gpu: str) -> MeteredHost:
    metered = MeteredHost(path, gpu)
    metered.ledger.host = host
    return metered


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A host of the whole month for 744 dollars, and spot nodes: 3 hours at 2 dollars, 5 at 4."""
    fleet = tmp_path / "fleet"
    october(fleet / "base.db", 24 * DOLLAR, "GPU-0")
    named(fleet / "a.db", "spot-1", "GPU-1").meter(OCTOBER + 50 * HOUR, 3, 2 * DOLLAR).close()
    named(fleet / "b.db", "spot-2", "GPU-2").meter(OCTOBER + 100 * HOUR, 5, 4 * DOLLAR).close()
    return fleet


@pytest.fixture
def nodes() -> Iterator[Callable[[LastScrapes], str]]:
    """A Prometheus that scraped kube-state-metrics each minute."""
    servers: list[http.server.ThreadingHTTPServer] = []

    def serve(scrapes: LastScrapes) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                assert form["query"] == [SCRAPES]
                start, end, step = (round(float(form[name][0])) for name in ("start", "end", "step"))
                result = []
                for (cluster, node), last in scrapes.items():
                    values = [
                        [at, str(min(at, last // SECOND))]
                        for at in range(start, end + 1, step)
                        if last // SECOND > at - step
                    ]
                    if values:
                        labels = {"node": node, **({"cluster": cluster} if cluster else {})}
                        result.append({"metric": labels, "values": values})
                body = json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}})
                self.send_response(200)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_args: object) -> None:
                """Say nothing."""

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


END = OCTOBER + 745 * HOUR
"""An hour after the month."""


def test_nodes_that_left(
    folder: Path, nodes: Callable[[LastScrapes], str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Spot 1 left 6 minutes after its last tick, spot 2 half an hour: 0.20 and 2.00 dollars beside 770."""
    address = nodes(
        {
            ("", "base"): END,
            ("", "spot-1"): OCTOBER + 53 * HOUR + 6 * MINUTE,
            ("", "spot-2"): OCTOBER + 105 * HOUR + 30 * MINUTE,
        }
    )
    status, out, _err = report(
        capsys, "month", "--month=2026-10", f"--from={folder}", f"--nodes-from={address}"
    )
    lines = out.splitlines()

    assert status == 0
    assert lines[2] == KNOWN
    assert lines[4].endswith("not in the total (2, 0.6000 hours, 2.20 dollars)")
    assert lines[5].startswith("  spot-1 (")
    assert lines[5].endswith("0.1000 hours, 0.20 dollars until 2026-10-03T05:06:00Z (left kube_node_info)")
    assert next(line for line in lines if line.startswith("total")).split()[1] == "770.00"
    assert (
        "until its end: 0.6000 hours of 2 hosts, 2.20 dollars at their last rate, which are not in the total."
        in lines
    )
    document = month(capsys, folder, f"--nodes-from={address}")
    assert (document["total"]["dollars"], document["incomplete_hosts"]) == (770.0, 0)
    assert document["until_end"] == {
        "hosts": 2,
        "hours": 0.6,
        "dollars": 2.2,
        "picodollars": 22 * DOLLAR // 10,
    }
    status, out, _err = report(
        capsys, "chargeback", "--month=2026-10", f"--from={folder}", f"--nodes-from={address}", "--csv"
    )
    rows = list(csv.DictReader(io.StringIO(out)))
    assert {(row["incomplete_hosts"], row["until_end_hours"], row["until_end_dollars"]) for row in rows} == {
        ("0", "0.6000", "2.20")
    }


def test_a_node_that_is_still_there_misses_its_cost(
    folder: Path, nodes: Callable[[LastScrapes], str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Its exporter died: its end is not known."""
    address = nodes({("", "base"): END, ("", "spot-1"): OCTOBER + 54 * HOUR, ("", "spot-2"): END})
    document = month(capsys, folder, f"--nodes-from={address}")

    assert [(each["kind"], each["host"]) for each in document["missing"]] == [
        ("silent", "spot-2"),
        ("ended", "spot-1"),
    ]
    assert document["incomplete_hosts"] == 1


def test_nodes_that_vanish_together_have_no_end(
    folder: Path, nodes: Callable[[LastScrapes], str], capsys: pytest.CaptureFixture[str]
) -> None:
    """All nodes of a cluster: its kube-state-metrics may have died. Another cluster says nothing of it."""
    last = OCTOBER + 105 * HOUR + 30 * MINUTE
    address = nodes({("a", "spot-1"): last, ("a", "spot-2"): last, ("b", "base"): END})
    document = month(capsys, folder, f"--nodes-from={address}")

    assert [(each["kind"], each["host"]) for each in document["missing"]] == [
        ("silent", "spot-1"),
        ("silent", "spot-2"),
    ]


def test_nodes_of_one_name_in_two_clusters_say_nothing(
    folder: Path, nodes: Callable[[LastScrapes], str], capsys: pytest.CaptureFixture[str]
) -> None:
    """One of them is there, and a ledger does not know its cluster."""
    address = nodes(
        {
            ("a", "spot-1"): OCTOBER + 54 * HOUR,
            ("a", "base"): END,
            ("b", "spot-1"): END,
            ("b", "spot-2"): OCTOBER + 105 * HOUR,
        }
    )
    document = month(capsys, folder, f"--nodes-from={address}")

    assert [(each["kind"], each["host"]) for each in document["missing"]] == [
        ("silent", "spot-1"),
        ("ended", "spot-2"),
    ]


@pytest.mark.parametrize(
    ("moment", "hours"),
    [
        ("2026-10-03T06:30Z", 1.5),
        ("2026-10-03T06:30", 1.5),
        ("2026-10-03T08:30+02:00", 1.5),
        ("2026-10-04", 19.0),
        ("2026-10-03T05:00Z", 0.0),
        ("2026-12-01", 691.0),  # its month's rest
    ],
)
def test_a_person_says_when_a_host_ended(
    moment: str, hours: float, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At 2 dollars an hour from the last tick on, on the 3rd at 5 o'clock."""
    document = month(capsys, folder, f"--ended=spot-1={moment}", "--ended=b=2026-10-05T09:00Z")

    assert document["incomplete_hosts"] == 0
    assert (document["until_end"]["hours"], document["until_end"]["dollars"]) == (hours, 2 * hours)
    assert document["total"]["dollars"] == 770.0
    assert [(each["host"], each["text"]) for each in document["missing"]] == [
        ("spot-1", "--ended"),
        ("spot-2", "--ended"),
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("spot-9=2026-10-04", "--ended=spot-9=2026-10-04 names no host\n"),
        (
            "spot-1=2026-10-03T04:00Z",
            "--ended=spot-1=2026-10-03T04:00:00+00:00 is before the host's last tick, 2026-10-03T05:00:00Z\n",
        ),
    ],
)
def test_an_end_that_fits_no_host(
    given: str, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 1, with what is wrong."""
    status, out, err = report(capsys, "month", "--month=2026-10", f"--from={folder}", f"--ended={given}")
    assert (status, out, err) == (1, "", message)


def test_an_end_of_two_hosts_of_one_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A ledger's id tells them apart."""
    named(folder / "c.db", "spot-1", "GPU-3").meter(OCTOBER + 200 * HOUR, 1, DOLLAR).close()
    status, _out, err = report(
        capsys, "month", "--month=2026-10", f"--from={folder}", "--ended=spot-1=2026-10-20"
    )
    assert status == 1
    assert "names 2: spot-1 (" in err
    assert err.endswith("): name one by its ledger id\n")
    silent = [each for each in month(capsys, folder)["missing"] if each["host"] == "spot-1"]
    ends = [f"--ended={each['ledger'][:8]}=2026-10-20" for each in silent]
    assert month(capsys, folder, *ends)["until_end"]["hosts"] == 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--ended=spot-1"], "'spot-1' is no end: write HOST=TIME"),
        (["--ended=spot-1=yesterday"], "'spot-1=yesterday' is no end: write HOST=TIME"),
        (["--ended==2026-10-04"], "'=2026-10-04' is no end: write HOST=TIME"),
        (["--nodes-from=prometheus:9090"], "'prometheus:9090' is no address: write http://prometheus:9090"),
    ],
)
def test_flags_that_are_wrong(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2, with the form."""
    for more in (["--from=x"], []):
        with pytest.raises(SystemExit) as raised:
            main(["report", "month", *more, *flags])
        assert raised.value.code == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--ended=spot-1=2026-10-04", "--nodes-from=http://127.0.0.1:9"])
def test_flags_that_need_a_fleet(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One host's own report has nobody else."""
    with pytest.raises(SystemExit):
        main(["report", "month", flag])
    assert "needs --from" in capsys.readouterr().err


def test_nodes_of_nobody(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An address that does not answer is an error, not a fleet without ends."""
    status, out, err = report(
        capsys, "month", "--month=2026-10", f"--from={folder}", "--nodes-from=http://127.0.0.1:9"
    )
    assert (status, out) == (1, "")
    assert "127.0.0.1:9" in err


def test_a_successor_in_its_slot(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A new ledger meters the GPU of spot 1 from 12 minutes after its last tick on; spot 2 stays silent."""
    named(folder / "c.db", "again", "GPU-1").meter(
        OCTOBER + 53 * HOUR + 12 * MINUTE, 3455, DOLLAR // 5, step=12 * MINUTE
    ).close()
    document = month(capsys, folder)

    assert [(each["kind"], each["host"], each["text"]) for each in document["missing"]] == [
        ("silent", "spot-2", None),
        ("ended", "spot-1", "its GPUs are metered by again"),
    ]
    assert (document["until_end"]["hours"], document["until_end"]["dollars"]) == (0.2, 0.4)


def test_a_successor_of_one_of_two_gpus_says_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The host may go on with the other one."""
    host = named(folder / "two.db", "two", "GPU-7").meter(OCTOBER + 300 * HOUR, 2, DOLLAR)
    host.gpu = host.gpu._replace(uuid="GPU-8")
    host.meter(OCTOBER + 302 * HOUR, 2, DOLLAR).close()
    named(folder / "heir.db", "heir", "GPU-7").meter(OCTOBER + 305 * HOUR, 439, DOLLAR).close()
    document = month(capsys, folder)

    assert ("silent", "two") in [(each["kind"], each["host"]) for each in document["missing"]]


def test_a_complete_month_is_closed_and_stands(
    folder: Path, nodes: Callable[[LastScrapes], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The statement knows the ends: its ledgers and nodes may be gone."""
    address = nodes(
        {("", "base"): END, ("", "spot-1"): OCTOBER + 54 * HOUR, ("", "spot-2"): OCTOBER + 105 * HOUR}
    )
    statement = tmp_path / "closed.json"
    status, out, _err = report(
        capsys,
        "month",
        "--month=2026-10",
        f"--from={folder}",
        f"--nodes-from={address}",
        "--close",
        f"--output={statement}",
    )
    assert (status, out) == (0, f"2026-10 is closed: 770.00 dollars of 3 ledgers in {statement}\n")
    assert json.loads(statement.read_text())["findings"][0] == KNOWN
    VALIDATOR.validate(json.loads(statement.read_text()))
    document = month(capsys, statement)
    assert (document["incomplete_hosts"], document["total"]["dollars"]) == (0, 770.0)
    assert document["until_end"]["hours"] == 1.0
    status, out, _err = report(capsys, "month", f"--against={statement}", f"--from={folder}", "--json")
    assert json.loads(out)["changes"] == []


def test_the_clouds_notice_ends_a_host(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Spot 3 ticked until 2 minutes before the end that its cloud gave: 0.10 dollars at 3 an hour.

    The notice of spot 4 was withdrawn before its last tick.
    """
    ended = named(folder / "c.db", "spot-3", "GPU-3")
    ended.ledger.ends = lambda: OCTOBER + 204 * HOUR + 2 * MINUTE
    ended.meter(OCTOBER + 200 * HOUR, 4, 3 * DOLLAR).close()
    withdrawn = named(folder / "d.db", "spot-4", "GPU-4")
    withdrawn.ledger.ends = lambda: OCTOBER + 203 * HOUR
    withdrawn.meter(OCTOBER + 200 * HOUR, 2, DOLLAR)
    withdrawn.ledger.ends = lambda: None
    withdrawn.meter(OCTOBER + 202 * HOUR, 1, DOLLAR).close()
    document = month(capsys, folder)

    assert [(each["kind"], each["host"], each["text"]) for each in document["missing"]] == [
        ("silent", "spot-1", None),
        ("silent", "spot-2", None),
        ("silent", "spot-4", None),
        ("ended", "spot-3", "notice of its cloud"),
    ]
    assert document["until_end"]["picodollars"] == DOLLAR // 10
    assert document["total"]["dollars"] == 785.0
    document = month(capsys, folder, "--ended=spot-3=2026-10-09T13:00Z")
    assert (document["until_end"]["hours"], document["until_end"]["dollars"]) == (1.0, 3.0)
