"""Files of logged requests, read line by line into a temporary file, where each request counts once.

Two gateways, or a gateway and a client, log one request twice. It counts once where

- the same span is there twice;
- the id of the response (or Envoy's `x-request-id`) and the tokens are the same, and the ends are within a
  minute: a client may send one id for ever. vLLM's ids are the header's behind `chatcmpl-`
  (vllm-project/vllm, `_base_request_id`). Ollama draws its ids from 999, `chatcmpl-%d` and `cmpl-%d` with
  `rand.Intn(999)` (ollama/ollama, middleware/openai.go at 077a50b): they identify nothing;
- a span of a request is below another one of a request: the one nearest to the server counts.

Memory does not grow with the files: SQLite keeps what is read in a file of its own that has no name.
"""

import gzip
import json
import re
import sqlite3
import sys
import zlib
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, Literal, NamedTuple, Self

from exporter.finance.requests.forms import LoggedRequest, Reason, Skipped, SpanLink, entries
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_SECOND, Instant

LINE_BYTES: Final = 16 * 1024 * 1024
"""A longer line is no line of a log. LiteLLM's have the prompt in them."""

LINES_NAMED: Final = 3
"""Line numbers that are kept of each problem."""

CACHE_KIB: Final = 16_000

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
SAME_WITHIN: Final = 60 * NANOSECONDS_PER_SECOND
"""The most time between two ends of one request: a slow client gets the last token later than its gateway."""

_PREFIX: Final = re.compile(r"^(chatcmpl|cmpl|embd)-")
_DRAWN: Final = re.compile(r"(chatcmpl|cmpl)-[0-9]{1,3}")

_TABLES: Final = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE request (
  number INTEGER PRIMARY KEY, hour INTEGER, instant INTEGER, names TEXT, prompt INTEGER, cached INTEGER,
  answer INTEGER, id TEXT, trace TEXT, span TEXT, dropped INTEGER DEFAULT 0
);
CREATE TABLE identity (id TEXT, instant INTEGER, PRIMARY KEY (id, instant)) WITHOUT ROWID;
CREATE TABLE span (trace TEXT, span TEXT, parent TEXT, PRIMARY KEY (trace, span)) WITHOUT ROWID;
"""
_ABOVE: Final = """
WITH RECURSIVE up(trace, span) AS (
  SELECT span.trace, span.parent FROM request JOIN span USING (trace, span)
  UNION
  SELECT span.trace, span.parent FROM up JOIN span USING (trace, span)
)
UPDATE request SET dropped = 1 WHERE span != '' AND (trace, span) IN up
"""
"""Marks requests with another one below them. UNION takes each span once, also in a circle."""

_TAKE: Final = """
INSERT INTO identity SELECT :id, :instant WHERE NOT EXISTS (
  SELECT * FROM identity WHERE id = :id AND instant BETWEEN :instant - :within AND :instant + :within
)
"""

_FIELDS: Final = "instant, names, prompt, cached, answer, id, trace, span"
_INSERT: Final = f"""
INSERT INTO request (hour, {_FIELDS})
VALUES (:hour, :end, :names, :input, :cached, :output, :id, :trace, :span)
"""  # noqa: S608 - constants

Problem = Reason | Literal["too long", "duplicate", "another day"]

_PROBLEMS: Final[dict[Problem, str]] = {
    "unreadable": "unreadable, and left out",
    "too long": "longer than 16 MiB, and left out",
    "unknown": "of no known form, and left out",
    "duplicate": "logged more than once, and counted once",
    "tokenless": "without tokens, as of failed requests",
    "gateway cache": "answered from LiteLLM's cache, and left out",
    "other span": "spans of anything but a request to a model",
    "another day": "of another day, and left out",
}
_WARNED: Final = frozenset({"unreadable", "too long", "another day"})


class RequestFileError(Exception):
    """A file cannot be read; the message says which and why."""


class TemporaryFolderError(Exception):
    """The temporary file cannot be written; the message says why."""


class ModelTokens(NamedTuple):
    """Tokens of requests of one hour with the same names of a model."""

    hour: int
    names: tuple[str, ...]
    prompt: int
    cached: int
    undivided: int
    """Tokens of prompts of which the log does not tell what was cached."""
    answer: int


class RequestLog:
    """The requests of all files. `problems` counts what is no request of its own, `lines` where it was."""

    def __init__(self) -> None:
        self.problems: Counter[Problem] = Counter()
        self.lines: dict[Problem, list[str]] = {}
        self._connection = sqlite3.connect("", isolation_level=None)
        self._connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Close the temporary file.

        Raises:
            TemporaryFolderError: it could not be written.
        """
        self._connection.close()
        if isinstance(error, sqlite3.Error):
            raise TemporaryFolderError(
                f"the folder for temporary files cannot be written: {error}; TMPDIR names another one"
            ) from error

    def read(self, paths: Collection[Path | None]) -> None:
        """Read files, compressed by gzip or not; `None` is standard input.

        Raises:
            RequestFileError: one cannot be read.
        """
        self._connection.executescript(_TABLES)
        self._connection.execute("BEGIN")
        for path in paths:
            name = "standard input" if path is None else str(path)
            try:
                with _opened(path) as file:
                    self._read(file, name if len(paths) > 1 else "")
            except (OSError, EOFError, zlib.error) as error:
                reason = getattr(error, "strerror", None) or error
                raise RequestFileError(f"{name}: cannot be read: {reason}") from error
        self._connection.execute(_ABOVE)
        (above,) = self._connection.execute("SELECT changes()").fetchone()
        self.problems["duplicate"] += above
        self._connection.execute("CREATE INDEX by_time ON request (hour, instant) WHERE dropped = 0")

    def _read(self, file: IO[bytes], name: str) -> None:
        number = 0
        while line := file.readline(LINE_BYTES + 1):
            number += 1
            where = f"{name}:{number}" if name else str(number)
            if len(line) > LINE_BYTES:
                while line and not line.endswith(b"\n"):
                    line = file.readline(LINE_BYTES)
                self._count("too long", where)
                continue
            if not line.strip():
                continue
            try:
                document = json.loads(line)
            except (ValueError, RecursionError):
                self._count("unreadable", where)
                continue
            for entry in entries(document):
                self._add(entry, where)

    def _add(self, entry: LoggedRequest | SpanLink | Skipped, where: str) -> None:
        if isinstance(entry, Skipped):
            self._count(entry.reason, f"{where} ({entry.detail})" if entry.detail else where)
            return
        if isinstance(entry, SpanLink):
            parent = "" if entry.parent == entry.span else entry.parent
            self._connection.execute(
                "INSERT OR IGNORE INTO span VALUES (?, ?, ?)", (entry.trace, entry.span, parent)
            )
            return
        # A request is new if no earlier one had any of its identities, which it then takes.
        identities: list[dict[str, str | int]] = []
        if entry.span:
            identities.append({"id": f"span {entry.trace} {entry.span}", "instant": 0, "within": 0})
        if entry.id and not _DRAWN.fullmatch(entry.id):
            response = f"{_PREFIX.sub('', entry.id)} {entry.input} {entry.output}"
            identities.append({"id": response, "instant": entry.end, "within": SAME_WITHIN})
        taken = sum(self._connection.execute(_TAKE, identity).rowcount for identity in identities)
        if taken < len(identities):
            self._count("duplicate", where)
            return
        hour = (entry.end - 1) // NANOSECONDS_PER_HOUR
        values = {**entry._asdict(), "hour": hour, "names": json.dumps(entry.names)}
        self._connection.execute(_INSERT, values)

    def _count(self, problem: Problem, where: str) -> None:
        self.problems[problem] += 1
        named = self.lines.setdefault(problem, [])
        if len(named) < LINES_NAMED:
            named.append(where)

    def keep(self, first: int, last: int) -> None:
        """Leave out requests that did not end in the hours from the first to the last."""
        self.problems["another day"] += self._connection.execute(
            "UPDATE request SET dropped = 1 WHERE dropped = 0 AND hour NOT BETWEEN ? AND ?", (first, last)
        ).rowcount

    def left_out(self) -> Iterator[str]:
        """Lines for people: what is no request of its own, how often, and where."""
        for problem, text in _PROBLEMS.items():
            count, lines = self.problems[problem], self.lines.get(problem, [])
            if count:
                level = "warning" if problem in _WARNED else "note"
                where = f", at {'lines' if len(lines) > 1 else 'line'} {', '.join(lines)}" if lines else ""
                more = " and others" if count > len(lines) > 0 else ""
                yield f"{level}: {text}: {count:,}{where}{more}"

    def span(self) -> tuple[Instant, Instant] | None:
        """The first and the last end of a request; `None` without any."""
        first, last = self._connection.execute(
            "SELECT min(instant), max(instant) FROM request WHERE dropped = 0"
        ).fetchone()
        return None if first is None else (first, last)

    def tokens(self) -> Iterator[ModelTokens]:
        """Sums of the requests that count."""
        for hour, names, *sums in self._connection.execute(
            "SELECT hour, names, sum(iif(cached IS NULL, 0, prompt - cached)), coalesce(sum(cached), 0), "
            "sum(iif(cached IS NULL, prompt, 0)), sum(answer) FROM request WHERE dropped = 0 "
            "GROUP BY hour, names"
        ):
            yield ModelTokens(hour, tuple(json.loads(names)), *sums)

    def hours(self) -> list[int]:
        """Hours since 1970 in which a request ended."""
        rows = self._connection.execute("SELECT DISTINCT hour FROM request WHERE dropped = 0").fetchall()
        return [hour for (hour,) in rows]

    def requests(self, hour: int) -> Iterator[LoggedRequest]:
        """The requests of an hour by their end."""
        for end, names, *fields in self._connection.execute(
            f"SELECT {_FIELDS} FROM request WHERE dropped = 0 AND hour = ? ORDER BY instant, number",  # noqa: S608 - constants
            (hour,),
        ):
            yield LoggedRequest(end, tuple(json.loads(names)), *fields)


@contextmanager
def _opened(path: Path | None) -> Iterator[IO[bytes]]:
    """A file, uncompressed.

    Raises:
        RequestFileError: it is compressed in a way that is not read here.
    """
    if path is None:
        yield _plain(sys.stdin.buffer, "standard input")
        return
    with path.open("rb") as file:
        yield _plain(file, str(path))


def _plain(file: IO[bytes], name: str) -> IO[bytes]:
    begins = file.peek(4)[:4]  # type: ignore[attr-defined] # both are buffered
    if begins == _ZSTD:
        raise RequestFileError(f"{name}: is compressed by zstd: give it as `zstd -dc {name}` writes it")
    return gzip.open(file) if begins.startswith(_GZIP) else file  # type: ignore[return-value]
