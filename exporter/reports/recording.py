"""A recording: a server's pages over time, masked, and beside them what the daemon read on them.

Its manifest is `manifest.json`:

- `engine`, `version`: what wrote the pages. `begun`: when the first one was read, UTC.
- `pages`: for each its `file`; `after_seconds`, since the first; `process`, the value of the header that
  tells the process, where the engine has one; `counted`, by model and quantity the sum of its counters;
  `requests`, by model those `running` and `waiting`; `left_out`, how many samples are no engine's.
- `answers`: files by the path of the page that they are of, with what is read of it.
- `failures`: reads that failed, by `reason`. `left_alone`: how many reads were not made, since the server
  may fall asleep by itself.
"""

import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from exporter import __version__
from exporter.engines import ENGINES
from exporter.readings import ReadFailedError, ServerReading
from exporter.reports.masking import Mask
from exporter.sources.server.recording import Look
from exporter.units import NANOSECONDS_PER_SECOND, Instant, Nanoseconds, seconds

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"


class Recording:
    """Takes looks at a server, and gives the files that keep them. `begun` is the calendar's time."""

    def __init__(self, begun: Instant) -> None:
        self._mask = Mask()
        self._begun = begun
        self._engine = ""
        self._version = ""
        self._pages: list[dict[str, Any]] = []
        self._answers: dict[str, str] = {}
        self._failures: list[dict[str, Any]] = []
        self._left_alone = 0

    @property
    def pages(self) -> int:
        """How many pages it holds."""
        return len(self._pages)

    def summary(self, asked: int) -> str:
        """What it holds of the reads that were asked for, in a sentence or a few."""
        text = f"{len(self._pages)} of {asked} pages of {self._engine} {self._version}".rstrip() + ", masked"
        if self._failures:
            text += f"; reads that failed: {len(self._failures)}"
        if self._left_alone:
            text += f"; reads left out, so that the server may fall asleep: {self._left_alone}"
        return text

    def take(self, look: Look, after: Nanoseconds) -> Iterator[tuple[str, bytes]]:
        """Names and contents of the files that keep one look, `after` the first one."""
        if look.metrics is None:
            self._left_alone += 1
            return
        reading, engine = look.reading, ENGINES[look.reading.engine]
        self._engine, self._version = engine.name, self._mask.version(reading.engine_version)
        page, left_out = self._mask.page(look.metrics.body)
        file = f"{len(self._pages) + 1:04d}.prom"
        process = look.metrics.headers.get(engine.identity_header, "") if engine.identity_header else ""
        counted, requests = told(reading)
        self._pages.append(
            {
                "file": file,
                "after_seconds": round(seconds(after), 3),
                "process": self._mask.process(process),
                "counted": {self._mask.model(model): sums for model, sums in counted.items()},
                "requests": {self._mask.model(model): loads for model, loads in requests.items()},
                "left_out": left_out,
            }
        )
        yield file, page
        for path, body in look.answers.items():
            answer = None if path in self._answers else self._mask.answer(path, body, engine)
            if answer is not None:
                self._answers[path] = f"{path.replace('/', '-')}.json"
                yield self._answers[path], answer

    def miss(self, failure: ReadFailedError, after: Nanoseconds) -> None:
        """Note a read that failed. Its message may name hosts, and is not kept."""
        self._failures.append({"after_seconds": round(seconds(after), 3), "reason": failure.reason})

    def manifest(self) -> bytes:
        """What there is, and what was read on it."""
        begun = datetime.fromtimestamp(self._begun // NANOSECONDS_PER_SECOND, UTC)
        document = {
            "format": FORMAT,
            "exporter": __version__,
            "engine": self._engine,
            "version": self._version,
            "begun": begun.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "pages": self._pages,
            "answers": self._answers,
            "failures": self._failures,
            "left_alone": self._left_alone,
        }
        return json.dumps(document, indent=2).encode() + b"\n"


Sums = dict[str, dict[str, float]]


def told(reading: ServerReading) -> tuple[Sums, Sums]:
    """Sums of a reading's counters by model and quantity, and its requests by model and state."""
    parts: dict[str, dict[str, list[float]]] = {}
    for counter in reading.counters:
        quantities = parts.setdefault(counter.model, {})
        quantities.setdefault(counter.quantity, []).append(counter.sign * counter.value)
    counted = {
        model: {quantity: math.fsum(values) for quantity, values in sorted(quantities.items())}
        for model, quantities in parts.items()
    }
    requests = {
        load.model: {
            state: value
            for state, value in (("running", load.running), ("waiting", load.waiting))
            if value is not None
        }
        for load in reading.loads
    }
    return counted, requests
