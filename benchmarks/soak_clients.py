"""Clients that scrape a daemon without end: whoever asks must be answered."""

import http.client
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

PERIODS: Final = {"/metrics": 15.0, "/metrics?": 5.0, "/": 10.0}
"""Seconds between the requests of a client, by path. The second is another Prometheus."""

PATIENCE: Final = 60.0


@dataclass
class Answers:
    """Of one client."""

    count: int = 0
    slowest: float = 0.0
    failures: list[str] = field(default_factory=list)


class Clients:
    """A thread for each, with one kept connection, opened again where the server has closed it."""

    def __init__(self, port: int) -> None:
        self.answers = {path: Answers() for path in PERIODS}
        self._port = port
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._scrape, args=item) for item in PERIODS.items()]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    @property
    def count(self) -> int:
        """Answers of all clients."""
        return sum(answers.count for answers in self.answers.values())

    @property
    def slowest(self) -> float:
        """Seconds of the slowest answer."""
        return max(answers.slowest for answers in self.answers.values())

    @property
    def failures(self) -> list[str]:
        """What was not answered well."""
        return [failure for answers in self.answers.values() for failure in answers.failures]

    def _scrape(self, path: str, period: float) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        answers = self.answers[path]
        while not self._ended.wait(period):
            began = time.monotonic()
            try:
                try:
                    status = _get(connection, path)
                except (http.client.RemoteDisconnected, ConnectionError):
                    connection.close()
                    status = _get(connection, path)
                problem = "" if status == http.client.OK else f"{path}: status {status}"
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                problem = f"{path}: {error!r}"
            answers.count += not problem
            answers.slowest = max(answers.slowest, time.monotonic() - began)
            if problem:
                answers.failures.append(problem)
        connection.close()


def _get(connection: http.client.HTTPConnection, path: str) -> int:
    connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
    answer = connection.getresponse()
    answer.read()
    return answer.status
