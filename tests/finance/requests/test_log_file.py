"""Files of requests: each once, whoever logged it, and bad lines told by number."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from exporter.finance.requests import log_file
from exporter.finance.requests.log_file import (
    LINE_BYTES,
    ModelTokens,
    RequestFileError,
    RequestLog,
    TemporaryFolderError,
)
from tests.kit.units import SECOND

START = 1_793_527_200
"""2026-11-01T10:00:00Z."""
HOUR = START // 3600


def litellm(number: int, **changes: Any) -> dict[str, Any]:
    """A request of LiteLLM that ended so many seconds after ten."""
    return {
        "id": f"chatcmpl-a{number}",
        "endTime": START + number,
        "model": "llama-8b",
        "prompt_tokens": 100,
        "completion_tokens": 20,
        **changes,
    }


def envoy(number: int, **changes: Any) -> dict[str, Any]:
    """The same request as Envoy logs it."""
    return {
        "x-request-id": f"a{number}",
        "start_time": "2026-11-01T10:00:00Z",
        "duration": number * 1000,
        "gen_ai.request.model": "llama-8b",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 20,
        **changes,
    }


def span(
    own: str, parent: str = "", *, answer: int = 20, trace: str = "t", response: str = ""
) -> dict[str, Any]:
    """A span of a request; without an answer, of something else."""
    attributes = {
        "gen_ai.request.model": {"stringValue": "llama-8b"},
        "gen_ai.usage.input_tokens": {"intValue": "100"},
        "gen_ai.usage.output_tokens": {"intValue": str(answer)},
        "gen_ai.response.id": {"stringValue": response},
    }
    listed = [{"key": key, "value": value} for key, value in attributes.items()] if answer else []
    return {
        "traceId": trace,
        "spanId": own,
        "parentSpanId": parent,
        "endTimeUnixNano": str(START * SECOND + 1),
        "attributes": listed,
    }


def otlp(*spans: dict[str, Any]) -> dict[str, Any]:
    return {"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}


def written(path: Path, *lines: object) -> Path:
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


def ids(log: RequestLog) -> list[str]:
    """What counts, by time."""
    return [each.id or each.span for hour in log.hours() for each in log.requests(hour)]


def read(path: Path, *lines: object) -> tuple[list[str], dict[str, int]]:
    """What counts of these lines, and problems."""
    with RequestLog() as log:
        log.read([written(path / "log.jsonl", *lines)])
        return ids(log), {problem: count for problem, count in log.problems.items() if count}


def test_requests_come_by_their_end(tmp_path: Path) -> None:
    """Whatever their order in the file; one that ends with the hour is the hour's, as counters have it."""
    late, last = litellm(0, endTime=START + 3600.5, id="late"), litellm(0, endTime=START + 3600, id="last")
    with RequestLog() as log:
        log.read([written(tmp_path / "log.jsonl", late, litellm(7), last, "", litellm(3, id=""))])

        assert sorted(log.hours()) == [HOUR, HOUR + 1]
        assert [each.id for each in log.requests(HOUR)] == ["", "chatcmpl-a7", "last"]
        assert [each.id for each in log.requests(HOUR + 1)] == ["late"]
        assert log.span() == ((START + 3) * SECOND, (START + 3600) * SECOND + SECOND // 2)


def test_tokens_by_hour_and_model(tmp_path: Path) -> None:
    """Prompts that do not tell what was cached are apart."""
    cached = {"usage": {"prompt_tokens_details": {"cached_tokens": 64}}}
    lines = (litellm(1), litellm(2, response=cached), litellm(3, model="bge"))
    with RequestLog() as log:
        log.read([written(tmp_path / "log.jsonl", *lines)])

        assert sorted(log.tokens()) == [
            ModelTokens(HOUR, ("bge",), 0, 0, 100, 20),
            ModelTokens(HOUR, ("llama-8b",), 36, 64, 100, 40),
        ]


def test_two_gateways_count_one_request(tmp_path: Path) -> None:
    """Envoy gave vLLM its id, which LiteLLM and a span have behind a prefix. The first one counts."""
    lines = (envoy(5), litellm(5), otlp(span("a", response="chatcmpl-a5")), litellm(6))
    assert read(tmp_path, *lines) == (["a5", "chatcmpl-a6"], {"duplicate": 2})


def test_an_id_with_other_tokens_is_another_request(tmp_path: Path) -> None:
    """Clients may send one `x-request-id` for ever."""
    assert read(tmp_path, litellm(5), litellm(5, completion_tokens=21)) == (["chatcmpl-a5"] * 2, {})


def test_an_id_at_another_time_is_another_request(tmp_path: Path) -> None:
    """An end a minute later, or earlier, is the same request's; a second more, a day more, is another's.

    Whichever comes first in the file: the one in the middle is the same as both.
    """
    ends = (100, 160, 40, 161, 39, 86_500)
    lines = [litellm(0, endTime=START + end) for end in ends]
    assert read(tmp_path, *lines) == (["chatcmpl-a0"] * 4, {"duplicate": 2})


@pytest.mark.parametrize("drawn", ["chatcmpl-0", "chatcmpl-998", "cmpl-7"])
def test_an_id_that_is_drawn_from_999_identifies_nothing(drawn: str, tmp_path: Path) -> None:
    """Ollama's: two requests of as many tokens in a minute, to the same model or to another one."""
    lines = (litellm(1, id=drawn), litellm(2, id=drawn), litellm(3, id=drawn, model="qwen3"))
    assert read(tmp_path, *lines) == ([drawn] * 3, {})


def test_a_span_is_the_same_at_any_time(tmp_path: Path) -> None:
    """Its id is of 64 bits: a span that is sent again, ended a day later, is the same one."""
    again = span("a")
    again["endTimeUnixNano"] = str((START + 86_400) * SECOND)
    assert read(tmp_path, otlp(span("a")), otlp(again)) == (["a"], {"duplicate": 1})


def test_a_span_twice_counts_once(tmp_path: Path) -> None:
    """As of a collector that sends again; the span of another trace may have the same id."""
    lines = (otlp(span("a")), otlp(span("a")), otlp(span("a", trace="u")))
    assert read(tmp_path, *lines) == (["a", "a"], {"duplicate": 1})


def test_a_span_above_another_is_the_same_request(tmp_path: Path) -> None:
    """A client's span, HTTP between, a gateway's, and that nearest to the server, which counts.

    An agent's span without a name of its operation, above two requests, counts neither.
    """
    lines = (
        otlp(span("client"), span("http", "client", answer=0)),
        otlp(span("gateway", "http"), span("server", "gateway")),
        otlp(span("one", "agent"), span("two", "agent"), span("agent", answer=50)),
    )
    counted, problems = read(tmp_path, *lines)
    assert counted == ["server", "one", "two"]
    assert problems == {"duplicate": 3, "other span": 1}


def test_spans_in_a_circle(tmp_path: Path) -> None:
    """No endless search; a span that is its own parent is a request."""
    assert read(tmp_path, otlp(span("a", "a")), otlp(span("b", "c"), span("c", "b"))) == (
        ["a"],
        {"duplicate": 2},
    )


def test_bad_lines_are_told_by_number(tmp_path: Path) -> None:
    """The first three of each kind, and how many there are; what is wrong where it is known."""
    path = written(
        tmp_path / "log.jsonl",
        "{",
        "\x00",
        litellm(1),
        litellm(1),
        litellm(2, endTime="x"),
        "[" * 100_000,
        {"msg": "started"},
        litellm(3, cache_hit=True),
        litellm(4, prompt_tokens=0, completion_tokens=0),
        '"' + "x" * LINE_BYTES,
        litellm(5),
    )
    with path.open("ab") as file:
        file.write(b"\xff\n")
    with RequestLog() as log:
        log.read([path])

        assert ids(log) == ["chatcmpl-a1", "chatcmpl-a5"]
        assert list(log.left_out()) == [
            "warning: unreadable, and left out: 5, at lines 1, 2, 5 (no endTime) and others",
            "warning: longer than 16 MiB, and left out: 1, at line 10",
            "note: of no known form, and left out: 1, at line 7",
            "note: logged more than once, and counted once: 1, at line 4",
            "note: without tokens, as of failed requests: 1, at line 9",
            "note: answered from LiteLLM's cache, and left out: 1, at line 8",
        ]


def test_the_end_of_a_line_that_is_too_long_is_no_line(tmp_path: Path) -> None:
    """What follows in it could be a request."""
    assert read(tmp_path, " " * (LINE_BYTES + 1) + json.dumps(litellm(1))) == ([], {"too long": 1})


def test_other_days_are_left_out_and_told(tmp_path: Path) -> None:
    """Of three hours, the one in the middle."""
    lines = [litellm(n, endTime=START + 3600 * n + 1) for n in range(3)]
    with RequestLog() as log:
        log.read([written(tmp_path / "log.jsonl", *lines)])
        log.keep(HOUR + 1, HOUR + 1)

        assert ids(log) == ["chatcmpl-a1"]
        assert list(log.left_out()) == ["warning: of another day, and left out: 2"]


def test_several_files_compressed_or_not(tmp_path: Path) -> None:
    """One request in both counts once; lines are those of their file."""
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(gzip.compress(f"{json.dumps(litellm(1))}\n{{\n".encode()))
    plain = written(tmp_path / "b.jsonl", litellm(1), litellm(2))
    with RequestLog() as log:
        log.read([packed, plain])

        assert ids(log) == ["chatcmpl-a1", "chatcmpl-a2"]
        assert log.lines == {"unreadable": [f"{packed}:2"], "duplicate": [f"{plain}:1"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(b"x" * 1000, mtime=0)[:-9], "cannot be read: Compressed file ended"),
        (b"\x1f\x8b\x08\x00" + b"\x00" * 6 + b"\xff" * 20, "cannot be read: Error -3"),
        (b"\x28\xb5\x2f\xfd\x00", "is compressed by zstd: give it as `zstd -dc"),
        (None, "cannot be read: No such file"),
    ],
    ids=["cut short", "damaged", "zstd", "missing"],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes | None, message: str) -> None:
    """Is named, with the reason."""
    path = tmp_path / "log.jsonl"
    if content is not None:
        path.write_bytes(content)
    with RequestLog() as log, pytest.raises(RequestFileError) as raised:
        log.read([path])
    assert str(raised.value).startswith(f"{path}: {message}")


def test_a_million_values_are_not_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but SQLite's cache is on disk; of problems, three lines are kept."""
    monkeypatch.setattr(log_file, "CACHE_KIB", 100)
    lines = [litellm(n, model=f"m-{n}") for n in range(3000)]
    with RequestLog() as log:
        log.read([written(tmp_path / "log.jsonl", *lines, *lines)])

        assert log.problems["duplicate"] == 3000
        assert len(log.lines["duplicate"]) == 3
        assert len(list(log.tokens())) == 3000


def test_a_full_folder_of_temporary_files(tmp_path: Path) -> None:
    """Says what to do. The file takes no more than 20 pages."""
    path = written(tmp_path / "log.jsonl", *(litellm(n) for n in range(3000)))

    def read() -> None:
        with RequestLog() as log:
            log._connection.execute("PRAGMA max_page_count = 20")
            log.read([path])

    with pytest.raises(TemporaryFolderError, match="is full; TMPDIR names another one"):
        read()
