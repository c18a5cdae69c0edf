"""A Prometheus in the process: it answers the expressions that a test names, and remembers what was asked."""

import threading
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qs

import httpx

from exporter.config.http_client import HttpClientConfig
from exporter.finance.prometheus.client import PrometheusClient
from tests.kit.clock import ManualClock

PATIENCE_SECONDS = 30

Values = Sequence[tuple[float, float]]
"""Hours since 1970 and values: an hour's value is asked for a millisecond before its end."""


class FakePrometheus:
    """Answers `query_range` by expression, `series` by the label sets of `series`, all else with nothing."""

    def __init__(
        self,
        ranges: Mapping[str, Sequence[tuple[Mapping[str, str], Values]]],
        series: Sequence[Mapping[str, str]] = (),
        together: int = 1,
        elsewhere: Sequence[tuple[Mapping[str, str], Values]] = (),
    ) -> None:
        """Answers of means wait until so many are asked for `together`.

        `elsewhere` are hours that no query asked for and each answer has.
        """
        self._elsewhere = elsewhere
        self._ranges = ranges
        self._series = series
        self._barrier = threading.Barrier(together)
        self._lock = threading.Lock()
        self._now = 0
        self.most_at_once = 0
        self.ranges: list[dict[str, str]] = []
        self.matches: list[str] = []

    def client(self) -> PrometheusClient:
        """A client of it."""
        transport = httpx.MockTransport(self.answer)
        return PrometheusClient(
            "http://prometheus.example:9090", HttpClientConfig(), ManualClock(), 30 * 10**9, transport
        )

    def answer(self, request: httpx.Request) -> httpx.Response:
        """One answer."""
        with self._lock:
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        form = {name: values[0] for name, values in parse_qs(request.content.decode()).items()}
        if "avg_over_time" in form.get("query", ""):
            self._barrier.wait(PATIENCE_SECONDS)
        with self._lock:
            self._now -= 1
        if request.url.path.endswith("/series"):
            self.matches.append(form["match[]"])
            return self._success([each for each in self._series if _selects(form["match[]"], each)])
        self.ranges.append(form)
        start, end = float(form["start"]), float(form["end"])
        result = []
        for labels, values in self._ranges.get(form["query"], ()):
            ends = [((hour + 1) * 3600 - 0.001, value) for hour, value in values]
            inside = [[at, str(value)] for at, value in ends if start <= at <= end]
            if inside:
                result.append({"metric": dict(labels), "values": inside})
        for labels, values in self._elsewhere:
            outside = [[hour * 3600.0, str(value)] for hour, value in values]
            result.append({"metric": dict(labels), "values": outside})
        return self._success({"result": result})

    @staticmethod
    def _success(data: object) -> httpx.Response:
        return httpx.Response(200, json={"status": "success", "data": data})


def _selects(selector: str, labels: Mapping[str, str]) -> bool:
    """Whether a selector names the metric; other matchers are taken as met, but one of a ledger."""
    if "ledger=~" in selector and "ledger" not in labels:
        return False
    name, _, rest = selector.partition("{")
    if name:
        return labels["__name__"] == name
    listed = rest.partition('__name__=~"')[2].partition('"')[0]
    return labels["__name__"] in listed.split("|")
