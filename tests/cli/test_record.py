"""`record`: what it writes, what it refuses, and that it does to a server only what the daemon would do."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from exporter.cli import main
from exporter.cli.record import RecordOptions, record
from exporter.engines import ENGINES
from exporter.units import NANOSECONDS_PER_SECOND
from exporter.version import VERSION
from tests.cli.test_terminal import Screen
from tests.kit.clock import ManualClock

TEN_SECONDS = 10 * NANOSECONDS_PER_SECOND
BEGUN = 1_767_225_600 * NANOSECONDS_PER_SECOND
"""2026-01-01T00:00:00Z."""

ROUTER = (
    "which passes requests on and holds no GPU: read each engine's own page, started with --enable-metrics"
)

Answer = tuple[int, bytes]


@dataclass
class ImpatientClock(ManualClock):
    """A clock of a terminal at which somebody presses Ctrl-C in the wait of this number."""

    interrupted: int = 0

    def wait(self, stop: threading.Event, duration: int) -> bool:
        if len(self.waited) == self.interrupted:
            raise KeyboardInterrupt
        return super().wait(stop, duration)


class Site:
    """A server on loopback: each path has a function of how often it was asked before, else it is 404."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.tokens: set[str | None] = set()
        self.answers: dict[str, Callable[[int], Answer]] = {}
        self.url = ""

    def answer(self, path: str) -> Answer:
        before = self.requests.count(path)
        self.requests.append(path)
        return self.answers.get(path, lambda _: (404, b""))(before)


@pytest.fixture
def site() -> Iterator[Site]:
    fake = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fake.tokens.add(self.headers["Authorization"])
            status, body = fake.answer(self.path)
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_port}"
    yield fake
    server.shutdown()
    thread.join()
    server.server_close()


def vllm(before: int) -> Answer:
    """A page whose counters grow with each read: 100 prompt tokens, 40 of them cached, and 7 generated."""
    reads = before + 1
    return 200, (
        f'vllm:num_requests_running{{model_name="acme/secret",engine="0"}} {reads}\n'
        f'vllm:prompt_tokens_total{{model_name="acme/secret",engine="0"}} {100 * reads}\n'
        f'vllm:prefix_cache_hits_total{{model_name="acme/secret",engine="0"}} {40 * reads}\n'
        f'vllm:generation_tokens_total{{model_name="acme/secret",engine="0"}} {7 * reads}\n'
        'acme_orders_total{customer="bob"} 5\n'
    ).encode()


def options_for(url: str, output: Path, *, times: int = 2, engine: str | None = None) -> RecordOptions:
    """Every ten seconds."""
    return RecordOptions(url, engine, times, TEN_SECONDS, output)


def test_a_token_is_sent_and_not_kept(site: Site, tmp_path: Path) -> None:
    """As the daemon sends it, from a file; whoever gets the recording does not get it."""
    site.answers = {"/metrics": vllm}
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    output = tmp_path / "chat"

    question = RecordOptions(site.url, "vllm", 1, TEN_SECONDS, output, bearer_token_file=token)
    assert record(question, ManualClock(start=BEGUN)) == 0
    assert site.tokens == {"Bearer s3cret"}
    assert all(b"s3cret" not in file.read_bytes() for file in output.iterdir())
    token.write_text("")
    assert record(replace(question, output=tmp_path / "none"), ManualClock(start=BEGUN)) == 1
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["chat", "token"]


def test_a_recording_holds_masked_pages_and_what_was_read(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Worked by hand. The version is asked once; no name of the server's is in any file."""
    site.answers = {"/metrics": vllm, "/version": lambda _: (200, b'{"version": "0.32.0", "by": "acme"}')}
    output = tmp_path / "chat"

    assert record(options_for(site.url, output), ManualClock(start=BEGUN)) == 0
    assert site.requests == ["/props", "/metrics", "/version", "/metrics"]
    assert capsys.readouterr().out == (
        f"{output} written: 2 of 2 pages of vllm 0.32.0, masked\nlook through it before you pass it on\n"
    )
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == [
        *("chat", "0001.prom", "0002.prom", "manifest.json", "version.json")
    ]
    assert json.loads((output / "manifest.json").read_bytes()) == {
        "format": 1,
        "exporter": VERSION,
        "engine": "vllm",
        "version": "0.32.0",
        "begun": "2026-01-01T00:00:00Z",
        "pages": [
            {
                "file": f"000{page}.prom",
                "after_seconds": 10 * (page - 1),
                "process": "",
                "counted": {
                    "model-1": {"prompt": 60 * page, "cached_prompt": 40 * page, "generation": 7 * page}
                },
                "requests": {"model-1": {"running": page}},
                "left_out": 1,
            }
            for page in (1, 2)
        ],
        "answers": {"version": "version.json"},
        "failures": [],
        "left_alone": 0,
    }
    assert (output / "0002.prom").read_text().splitlines()[1] == (
        'vllm:prompt_tokens_total{model_name="model-1",engine="0"} 200'
    )
    for file in output.iterdir():
        assert b"acme" not in file.read_bytes()
        assert b"127.0.0.1" not in file.read_bytes()


def test_an_engine_of_the_configuration_is_recorded(site: Site, tmp_path: Path) -> None:
    """Its words and the labels of its models are known, so that the masked page reads the same."""
    site.answers = {
        "/metrics": lambda _: (
            200,
            b'cirro_total{name="secret",flavor="text"} 9\ncirro_total{name="secret",flavor="dry"} 4\n',
        )
    }
    config = tmp_path / "ice.yaml"
    config.write_text(
        "engines: [{name: cirro, models: [name], "
        "counters: [{name: cirro_total, quantity: generation, where: {flavor: text}}]}]"
    )
    output = tmp_path / "cirro"
    arguments = [f"--url={site.url}", "--times=1", f"--config.file={config}", f"--output={output}"]

    assert main(["record", *arguments]) == 0
    manifest = json.loads((output / "manifest.json").read_bytes())
    assert manifest["engine"] == "cirro"
    assert manifest["pages"][0]["counted"] == {"model-1": {"generation": 9}}
    assert (output / "0001.prom").read_text() == (
        'cirro_total{name="model-1",flavor="text"} 9\ncirro_total{name="model-1",flavor="flavor-1"} 4\n'
    )


def test_the_verb_takes_its_flags(site: Site, tmp_path: Path) -> None:
    """One read needs no waiting."""
    site.answers = {"/metrics": vllm}
    output = tmp_path / "chat"
    arguments = [f"--url={site.url}", "--engine=vllm", "--times=1", "--every=5m", f"--output={output}"]

    assert main(["record", *arguments]) == 0
    assert (output / "0001.prom").is_file()
    assert "/props" not in site.requests


@pytest.mark.parametrize(
    ("url", "engine", "message"),
    [
        ("nowhere", None, "'nowhere' is no http or https URL"),
        ("ftp://127.0.0.1/metrics", None, "'ftp://127.0.0.1/metrics' is no http or https URL"),
        ("http://[::1", None, "'http://[::1' is no URL: Invalid IPv6 URL"),
        (
            "http://me:secret@127.0.0.1/",
            None,
            "a URL with credentials in it would show them; use bearer_token_file",
        ),
        (
            "http://127.0.0.1",
            "vlm",
            f"engine 'vlm' is none of {', '.join(sorted(ENGINES))}",
        ),
    ],
)
def test_a_wrong_url_or_engine_is_refused(
    url: str, engine: str | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2, and nothing is made."""
    assert record(options_for(url, tmp_path / "chat", engine=engine), ManualClock(start=BEGUN)) == 2
    assert capsys.readouterr() == ("", f"{message}\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["chat", "chat.partial"])
@pytest.mark.parametrize("made", [Path.mkdir, Path.touch, lambda path: path.symlink_to("gone")])
def test_what_exists_is_left_alone(
    name: str, made: Callable[[Path], None], site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder, a file or a link, of this name or the one that is written first: nobody is asked."""
    made(tmp_path / name)

    assert record(options_for(site.url, tmp_path / "chat"), ManualClock(start=BEGUN)) == 2
    assert capsys.readouterr().err == f"{tmp_path / name} exists already: name a folder that does not\n"
    assert site.requests == []
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_folder_that_cannot_be_made_is_said(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anybody is asked."""
    output = tmp_path / "gone" / "chat"

    assert record(options_for(site.url, output), ManualClock(start=BEGUN)) == 1
    assert capsys.readouterr().err == f"{output}: cannot be written: No such file or directory\n"
    assert site.requests == []


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((200, b"<html><body>Welcome</body></html>"), "answers with a page of no known engine"),
        ((302, b""), "answers with HTTP status 302"),
        ((500, b""), "answers with HTTP status 500"),
        (
            (200, b"smg_http_requests_total 1\n"),
            f"answers with the page of the SGLang router, {ROUTER}",
        ),
    ],
)
def test_a_server_that_cannot_be_recorded_is_said(
    answer: Answer, message: str, site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1, nothing is left, and no redirect is followed."""
    site.answers = {"/metrics": lambda _: answer}

    assert record(options_for(site.url, tmp_path / "chat"), ManualClock(start=BEGUN)) == 1
    assert capsys.readouterr() == ("", f"{site.url}: {message}\n")
    assert list(tmp_path.iterdir()) == []
    assert "/elsewhere" not in site.requests


def test_nothing_listens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Port 1 of loopback is nobody's."""
    assert record(options_for("http://127.0.0.1:1", tmp_path / "chat"), ManualClock(start=BEGUN)) == 1
    assert capsys.readouterr().err == "http://127.0.0.1:1: [Errno 111] Connection refused\n"
    assert list(tmp_path.iterdir()) == []


def test_a_later_read_that_fails_is_noted(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its reason, and the next is made in its time."""
    site.answers = {"/metrics": lambda before: (503, b"") if before == 1 else vllm(before)}
    output = tmp_path / "chat"

    assert record(options_for(site.url, output, times=3, engine="vllm"), ManualClock(start=BEGUN)) == 0
    manifest = json.loads((output / "manifest.json").read_bytes())
    assert manifest["failures"] == [{"after_seconds": 10, "reason": "http_status"}]
    assert [page["after_seconds"] for page in manifest["pages"]] == [0, 20]
    assert "2 of 3 pages of vllm, masked; reads that failed: 1\n" in capsys.readouterr().out


def test_an_interruption_keeps_what_there_is(site: Site, tmp_path: Path) -> None:
    """Ctrl-C while it waits for the third read; before the first nothing is left."""
    site.answers = {"/metrics": vllm}

    assert record(options_for(site.url, tmp_path / "chat", times=9), ImpatientClock(interrupted=2)) == 0
    assert len(json.loads((tmp_path / "chat" / "manifest.json").read_bytes())["pages"]) == 2
    with pytest.raises(KeyboardInterrupt):
        record(options_for(site.url, tmp_path / "none", times=9), ImpatientClock(interrupted=0))
    assert [path.name for path in tmp_path.iterdir()] == ["chat"]


def test_what_drains_a_queue_is_not_asked(site: Site, tmp_path: Path) -> None:
    """Law 6: trtllm-serve's /metrics is gone once it is read, whatever the URL says."""
    site.answers = {"/prometheus/metrics": lambda _: (200, b'trtllm_prompt_tokens_total{model_name="x"} 1\n')}

    assert (
        record(
            options_for(f"{site.url}/metrics", tmp_path / "chat", engine="trtllm"), ManualClock(start=BEGUN)
        )
        == 0
    )
    assert "/metrics" not in site.requests
    assert site.requests.count("/prometheus/metrics") == 2


def llamacpp(_: int) -> Answer:
    """A page on which nothing moves."""
    return 200, b"llamacpp:prompt_tokens_total 5\nllamacpp:tokens_predicted_total 6\n"


def test_a_server_that_sleeps_is_not_woken(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Law 6: its metrics are not asked."""
    props = {"model_alias": "m", "build_info": "b1", "total_slots": 1, "is_sleeping": True}
    site.answers = {"/props": lambda _: (200, json.dumps(props).encode()), "/metrics": llamacpp}

    assert record(options_for(site.url, tmp_path / "chat"), ManualClock(start=BEGUN)) == 1
    assert capsys.readouterr().err == f"{site.url}: asleep since before it was first read\n"
    assert site.requests == ["/props"]


def test_a_server_that_may_fall_asleep_is_left_alone(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Read at 0 and 10 s; nothing moved, so again after a pause of 10 s, then of 20 s, then of 40 s."""
    props = {"model_alias": "m", "build_info": "b1", "total_slots": 1, "is_sleeping": False}
    site.answers = {"/props": lambda _: (200, json.dumps(props).encode()), "/metrics": llamacpp}
    output = tmp_path / "chat"

    assert record(options_for(site.url, output, times=9), ManualClock(start=BEGUN)) == 0
    manifest = json.loads((output / "manifest.json").read_bytes())
    assert [page["after_seconds"] for page in manifest["pages"]] == [0, 10, 20, 40, 80]
    assert manifest["left_alone"] == 4
    assert "; reads left out, so that the server may fall asleep: 4\n" in capsys.readouterr().out


def test_a_long_recording_says_how_far_it_is(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal, after the first ten seconds, as a bar of 30 marks that is gone at the end."""
    site.answers = {"/metrics": vllm}
    screen = Screen()
    monkeypatch.setattr("sys.stderr", screen)
    assert record(options_for(site.url, tmp_path / "chat", times=3), ManualClock(start=BEGUN)) == 0

    bars = ("#" * 10 + "." * 20, "#" * 20 + "." * 10)
    steps = "".join(f"\r\x1b[Kreading [{bar}] {done} of 3" for done, bar in enumerate(bars, start=1))
    assert screen.getvalue() == f"{steps}\r\x1b[K"
