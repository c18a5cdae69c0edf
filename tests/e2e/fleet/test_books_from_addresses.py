"""`report --from=ADDRESS` by the real command line: what it answers, and what it refuses with which words."""

import csv
import http.server
import io
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.daemon import ROOT, until
from tests.e2e.fleet.history import Sample, blocks
from tests.e2e.fleet.programs import FleetPrometheus
from tests.e2e.fleet.test_books import END, MONTH, NOW, START

pytestmark = pytest.mark.xdist_group("fleet-books")

HOUR = 3600


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "exporter", "report", *arguments, f"--month={MONTH.name}"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The verb, as a person runs it."""
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, check=False, timeout=120, cwd=ROOT
    )


def month(ledger: str, dollars: float, *, begin: int = START, until_end: int = NOW) -> Iterator[Sample]:
    """A ledger of product chat that reports every half hour; its money grows evenly to what it comes to."""
    node = f"node-{ledger}"
    host = f'cluster="east",instance="{node}:9844",node="{node}"'
    owner = 'product="chat",team="a"'
    cell = f'ledger="{ledger}",month="{MONTH.name}",price_basis="configured",{owner}'
    for at in range(begin + 60, until_end + 1, HOUR // 2):
        grown = dollars * min(1.0, (at - begin) / (min(until_end, END) - begin))
        yield f"inference_month_to_date_dollars{{{cell},{host}}}", grown, at
        yield f'inference:month_to_date_dollars:posting{{{cell},cluster="east"}}', grown, at
        yield f'inference:ledger_seen_timestamp_seconds{{{host},ledger="{ledger}"}}', float(at - 5), at
        yield f'inference_month_end_timestamp_seconds{{{host},month="{MONTH.name}"}}', float(END), at
        yield (
            f'inference_month_metered_since_timestamp_seconds{{{host},ledger="{ledger}",month="{MONTH.name}"}}',
            float(begin),
            at,
        )
        server = f'{owner},namespace="",server="chat-8b",model="llama"'
        share = {"decode": 0.75, "idle": 0.25}
        for phase, part in share.items():
            yield f'inference_cost_dollars_total{{{host},{server},phase="{phase}"}}', 5 + grown * part, at
        tokens = f'inference_tokens_total{{{host},{server},kind="generation"}}'
        yield tokens, float((at - begin) // HOUR * 1000), at


@contextmanager
def prometheus(folder: Path, samples: Iterator[Sample], retention: str = "90d") -> Iterator[FleetPrometheus]:
    """A Prometheus that holds these samples and scrapes nothing."""
    program = FleetPrometheus(folder, "{}", retention=retention)
    blocks(samples, program.data)
    with program:
        yield program


def two() -> Iterator[Sample]:
    """A living host of 100 dollars, and one of 7.50 that died after three hours."""
    yield from month("00000000-live", 100.0)
    yield from month("11111111-dead", 7.5, begin=START + 50 * HOUR, until_end=START + 53 * HOUR + 60)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetPrometheus]:
    with prometheus(tmp_path_factory.mktemp("fleet"), two()) as program:
        yield program


def test_a_month_without_rules_of_the_fleet(fleet: FleetPrometheus) -> None:
    """Both hosts, the dead one by its last sample, and named."""
    done = run("month", f"--from={fleet.url}", "--json")

    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["total"]["dollars"] == 107.5
    assert [(host["host"], host["dollars"]) for host in document["hosts"]] == [
        ("node-00000000-live", 100.0),
        ("node-11111111-dead", 7.5),
    ]
    assert [(each["kind"], each["host"]) for each in document["missing"]] == [
        ("silent", "node-11111111-dead")
    ]


def test_finer_rows_are_marked(fleet: FleetPrometheus) -> None:
    """A quarter was idle, as the counters rose; the sheet says that this is apportioned."""
    table = run("chargeback", f"--from={fleet.url}")
    sheet = run("chargeback", f"--from={fleet.url}", "--csv")

    assert "APPORTIONED: 2 ledgers known from Prometheus only" in table.stdout, table.stderr
    (row,) = csv.DictReader(io.StringIO(sheet.stdout))
    assert (row["product"], row["dollars"], row["apportioned"]) == ("chat", "107.50", "true")
    assert float(row["idle_dollars"]) == pytest.approx(107.5 / 4, rel=0.01)
    assert int(row["generation_tokens"]) > 700_000


def test_servers_that_disagree_are_named(fleet: FleetPrometheus, tmp_path: Path) -> None:
    """The later sample counts; the other one differs by two dollars."""
    with prometheus(tmp_path / "other", month("00000000-live", 98.0, until_end=NOW - 2 * HOUR)) as other:
        done = run("month", f"--from={other.url}", f"--from={fleet.url}", "--json")

    document = json.loads(done.stdout)
    assert document["total"]["dollars"] == 107.5
    (difference,) = [each for each in document["missing"] if each["kind"] == "difference"]
    assert round(difference["picodollars"] / 1e12, 2) == -2.0


def test_servers_of_one_instant_that_disagree_have_no_total(fleet: FleetPrometheus, tmp_path: Path) -> None:
    """Nothing tells which is right."""
    with prometheus(tmp_path / "other", month("00000000-live", 98.0)) as other:
        done = run("month", f"--from={other.url}", f"--from={fleet.url}")

    assert (done.returncode, done.stdout) == (1, "")
    assert "with 98.00 and 100.00 dollars" in done.stderr or "with 100.00 and 98.00 dollars" in done.stderr
    assert other.url in done.stderr
    assert fleet.url in done.stderr


def test_a_month_without_its_first_half_is_marked(tmp_path: Path) -> None:
    """The month of a host that lives is whole; one that died in the first half would be missing."""
    late = (sample for sample in month("00000000-live", 100.0) if sample[2] > START + 15 * 24 * HOUR)
    with prometheus(tmp_path / "short", late) as short:
        done = run("month", f"--from={short.url}")

    assert done.returncode == 0, done.stderr
    assert "\nINCOMPLETE: hosts that ended early are unknown\n" in done.stdout
    assert f"{short.url}: no sample before {MONTH.name}-16T00:00:00Z, the first 360.0000 hours" in done.stdout
    assert "\ntotal     100.00\n" in done.stdout


class Answer(http.server.BaseHTTPRequestHandler):
    """Answers every request alike; `delay` waits until the test ends."""

    status, body, kind = 200, b"", "application/json"
    health = b""
    released = threading.Event()
    delay = False

    def do_POST(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if self.delay:
            self.released.wait(60)
        health = self.path == "/api/health" and self.health
        self.send_response(200 if health else self.status)
        self.send_header("Content-Type", self.kind)
        self.end_headers()
        self.wfile.write(self.health if health else self.body)

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@contextmanager
def server(**answer: object) -> Iterator[str]:
    """The address of a server that answers so."""
    handler = type("Answering", (Answer,), answer)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_address[1]}"
        finally:
            listening.shutdown()
            thread.join(10)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            {"status": 302, "kind": "text/html", "health": b'{"database": "ok", "version": "11.6.0"}'},
            "is Grafana, not Prometheus",
        ),
        ({"status": 401, "body": b'{"message": "Unauthorized"}'}, "HTTP 401: give credentials"),
        (
            {
                "status": 422,
                "body": b'{"status": "error", "errorType": "execution", "error": "query processing would '
                b'load too many samples into memory in query execution"}',
            },
            "raise its limit (--query.max-samples",
        ),
        (
            {"status": 200, "kind": "text/html", "body": b"<html>"},
            "with HTML: give the address of a Prometheus",
        ),
        (
            {"status": 200, "body": b'{"status": "success", "data": {"result": []}}'},
            "holds no inference_month",
        ),
        (
            {"status": 200, "body": b'{"status": "success", "isPartial": true, "data": {"result": []}}'},
            "the answer is partial",
        ),
    ],
)
def test_each_bad_address_has_its_words(answer: dict[str, object], words: str) -> None:
    """And no total."""
    with server(**answer) as address:
        done = run("month", f"--from={address}")

    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupted_run_prints_no_total() -> None:
    """Control-C while a server does not answer."""
    released = threading.Event()
    with server(delay=True, released=released) as address:
        process = subprocess.Popen(
            command("month", f"--from={address}"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        try:
            until(lambda: _waits_for(process.pid, address), 60, "the query is sent")
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        finally:
            released.set()
            process.kill()
            process.wait(10)

    assert out == ""
    assert process.returncode != 0
    assert "Traceback" not in err


def _waits_for(pid: int, address: str) -> bool:
    """Whether a process has a connection to a port."""
    port = int(address.rpartition(":")[2])
    try:
        inodes = {str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir()}
        lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    except OSError:
        return False
    connected = [line.split() for line in lines if line.split()[2].endswith(f":{port:04X}")]
    return any(f"socket:[{fields[9]}]" in inodes and fields[3] == "01" for fields in connected)


def test_an_address_takes_no_password() -> None:
    """It would stand in the list of processes."""
    done = run("month", "--from=http://alice:hunter2@127.0.0.1:1")

    assert done.returncode == 2
    assert "name its file in --http.config.file" in done.stderr
    assert "hunter2" not in done.stderr.replace("--from=http://alice:hunter2@127.0.0.1:1", "")


def test_an_address_that_nothing_answers_is_an_error() -> None:
    """After four attempts."""
    done = run("month", "--from=http://127.0.0.1:1")

    assert (done.returncode, done.stdout) == (1, "")
    assert "http://127.0.0.1:1 cannot be asked: [Errno 111] Connection refused" in done.stderr
