"""Client of Prometheus' HTTP API, which Thanos, Mimir and VictoriaMetrics answer too.

https://prometheus.io/docs/prometheus/latest/querying/api/
An answer is whole or an error: partial answers of Thanos and VictoriaMetrics are refused.
"""

import json
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import chain
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit, urlunsplit

import httpx

from exporter.clock import Clock
from exporter.config.http_client import SECRET_BYTES_MAX, HttpClientConfig
from exporter.config.problems import shown
from exporter.sources.https_client import CONNECTED
from exporter.units import (
    NANOSECONDS_PER_HOUR,
    NANOSECONDS_PER_SECOND,
    PICODOLLARS_PER_DOLLAR,
    Instant,
    Nanoseconds,
    Picodollars,
)

BODY_BYTES_MAX: Final = 64 * 1024 * 1024
"""Longest answer. A longer one is asked for in parts."""

STEPS_MAX: Final = 10_000
"""Steps of one range query. Prometheus refuses more than 11,000."""

HEALTH_BYTES_MAX: Final = 10_000
"""Longest page by which Grafana is known."""

HEALTH_TIMEOUT: Final = 5 * NANOSECONDS_PER_SECOND

LABELS_RANGE_MIN: Final = 2 * NANOSECONDS_PER_HOUR
"""A shorter range of labels is not asked for in halves."""

ATTEMPTS: Final = 4
FIRST_PAUSE: Final = NANOSECONDS_PER_SECOND
"""Before the second attempt; it doubles with each."""

TRANSIENT: Final = frozenset({429, 500, 502, 503, 504})
"""Statuses after which the same query may succeed."""

EXCESSIVE: Final = (
    "too many samples",  # Prometheus: query processing would load too many samples into memory
    "exceeded maximum resolution",  # Prometheus, beyond 11,000 points a series
    "too many points",  # VictoriaMetrics: -search.maxPointsPerTimeseries
    "maxsamplesperquery",  # VictoriaMetrics
    "maxuniquetimeseries",  # VictoriaMetrics
    "search.maxseries",  # VictoriaMetrics, of labels
    "max-fetched",  # Mimir: max_fetched_series_per_query and its like, err-mimir-max-...-per-query
    "err-mimir-max",
    "the query time range exceeds the limit",  # Mimir: max_total_query_length
    "expanded matching posting: fetch",  # Thanos store limits
    "exceeded series limit",  # Thanos
    "exceeded samples limit",  # Thanos
)
"""Parts of the messages by which a server says that a query asks for too much, in lower case."""

COMMON_HEADERS: Final = {"User-Agent": "inference-cost-exporter", "Accept": "application/json"}

GRAFANA: Final = (
    "is Grafana, not Prometheus: give the address of the Prometheus that it reads, or "
    "{address}/api/datasources/proxy/uid/UID with a token of a service account in --http.config.file"
)


class PrometheusError(Exception):
    """A query has no answer; the message says where, why and what to do."""

    def __init__(self, message: str, *, divisible: bool = False) -> None:
        super().__init__(message)
        self.divisible = divisible
        """It asks for too much or takes too long: parts of it may have an answer."""


@dataclass(frozen=True, slots=True)
class QuerySample:
    """One value of a series."""

    at: Instant
    value: str
    """The text that the server sent, which loses nothing."""

    @property
    def number(self) -> float:
        """The value as a float."""
        return float(self.value)

    @property
    def picodollars(self) -> Picodollars:
        """The value as money, if it is in dollars.

        Raises:
            PrometheusError: it is no finite number.
        """
        try:
            return int((Decimal(self.value) * PICODOLLARS_PER_DOLLAR).to_integral_value())
        except (InvalidOperation, ValueError, OverflowError):
            raise PrometheusError(f"{shown(self.value)} is no amount of dollars") from None


@dataclass(frozen=True, slots=True)
class QuerySeries:
    """A series of an answer: its labels without the name, and its samples in order of time."""

    labels: Mapping[str, str]
    samples: tuple[QuerySample, ...]


class PrometheusClient:
    """Queries one server, one query at a time in each thread. `requests` counts those that were sent."""

    def __init__(
        self,
        address: str,
        config: HttpClientConfig,
        clock: Clock,
        timeout: Nanoseconds,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Args:
            address: http(s)://HOST[:PORT][/PREFIX], without the path of the API.
            config: credentials, TLS and headers.
            clock: bounds each query, and waits between attempts.
            timeout: of one query.
            transport: of tests.

        Raises:
            PrometheusError: a file of credentials cannot be used.
        """
        self.address = address.rstrip("/")
        self.requests = 0
        self._clock = clock
        self._timeout = timeout
        self._headers = _headers(config)
        self._auth: httpx.Auth | None = None
        if config.basic_auth is not None:
            password = _secret(config.basic_auth.password_file)
            self._auth = httpx.BasicAuth(config.basic_auth.username, password)
        self._server_name = config.tls.server_name
        self._deadline = threading.local()
        self._client = httpx.Client(
            verify=_tls(config) if self.address.startswith("https:") else False,
            headers=COMMON_HEADERS,
            trust_env=False,
            follow_redirects=False,
            transport=transport,
        )
        secrets = (
            self._auth is not None,
            config.authorization is not None,
            urlsplit(self.address).password is not None,
            any(header.files for _, header in config.headers),
        )
        self.sends_secrets_in_the_clear = self.address.startswith("http:") and any(secrets)

    @property
    def name(self) -> str:
        """The address as a message may repeat it, without a password."""
        parts = urlsplit(self.address)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, host, parts.path, "", ""))

    def instant(
        self, query: str, at: Instant, *, coarsest: Nanoseconds | None = None
    ) -> tuple[QuerySeries, ...]:
        """The value of each series at an instant; `coarsest` as in `range`.

        Raises:
            PrometheusError: there is no whole answer.
        """
        return self._result("query", {"query": query, "time": _seconds(at), **_limits(coarsest)})

    def instant_by_ledger(
        self,
        query: Callable[[str], str],
        at: Instant,
        *,
        coarsest: Nanoseconds | None = None,
        prefix: str = "",
    ) -> tuple[QuerySeries, ...]:
        """As `instant`, in parts by ledger where the server refuses the whole.

        Args:
            query: makes the query of a matcher of the label `ledger`, such as `ledger=~"a.*"`.
            at: the instant.
            coarsest: as in `range`.
            prefix: what the ids of the ledgers begin with.

        Raises:
            PrometheusError: there is no whole answer.
        """
        try:
            return self.instant(query(f'ledger=~"{prefix}.+"'), at, coarsest=coarsest)
        except PrometheusError as error:
            if not error.divisible or len(prefix) >= 2:  # a 256th of all ledgers
                raise
        parts = [
            self.instant_by_ledger(query, at, coarsest=coarsest, prefix=prefix + digit)
            for digit in "0123456789abcdef"
        ]
        others = self.instant(query(f'ledger=~"{prefix}[^0-9a-f].*"'), at, coarsest=coarsest)
        return (*chain(*parts), *others)

    def range(
        self,
        query: str,
        start: Instant,
        end: Instant,
        step: Nanoseconds,
        progress: Callable[[Instant], None] = lambda _reached: None,
        *,
        coarsest: Nanoseconds | None = None,
    ) -> Iterator[QuerySeries]:
        """The values of each series at `start`, `start + step` and so on up to `end`.

        A range that the server refuses is asked for in halves: a series may then come in several parts.

        Args:
            query: the expression.
            start: the first instant.
            end: the last instant, at most.
            step: between two instants.
            progress: is called with the end of each part.
            coarsest: samples that Thanos made of so much time may be used, and none of more; 0 is for those
                that were scraped. `None` leaves it to the server. Other servers have none.

        Raises:
            PrometheusError: there is no whole answer.
        """
        limits = _limits(coarsest)
        first = start
        while first <= end:
            last = min(end, first + (STEPS_MAX - 1) * step)
            yield from self._halves(query, first, last, step, limits)
            progress(last)
            first = last - (last - first) % step + step

    def _halves(
        self, query: str, start: Instant, end: Instant, step: Nanoseconds, limits: Mapping[str, str]
    ) -> Iterable[QuerySeries]:
        # VictoriaMetrics moves the instants to multiples of the step unless it may not use its cache.
        parameters = {
            "query": query,
            "start": _seconds(start),
            "end": _seconds(end),
            "step": _seconds(step),
            "nocache": "1",
            **limits,
        }
        try:
            return self._result("query_range", parameters)
        except PrometheusError as error:
            steps = (end - start) // step
            if not error.divisible or not steps:
                raise
            middle = start + steps // 2 * step
            return [
                *self._halves(query, start, middle, step, limits),
                *self._halves(query, middle + step, end, step, limits),
            ]

    def label_sets(self, selector: str, start: Instant, end: Instant) -> tuple[Mapping[str, str], ...]:
        """The labels of each series, its name included, that has samples in a time range.

        Raises:
            PrometheusError: there is no whole answer.
        """
        form = {"match[]": selector, "start": _seconds(start), "end": _seconds(end)}
        try:
            data = self._data("series", form)
        except PrometheusError as error:
            if not error.divisible or end - start < LABELS_RANGE_MIN:
                raise
            middle = (start + end) // 2
            halves = (*self.label_sets(selector, start, middle), *self.label_sets(selector, middle, end))
            return tuple({frozenset(labels.items()): labels for labels in halves}.values())
        if not isinstance(data, list) or not all(
            isinstance(labels, dict) and "__name__" in labels for labels in data
        ):
            raise self._misshapen()
        return tuple({str(name): str(value) for name, value in labels.items()} for labels in data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._client.close()

    def _result(self, path: str, parameters: Mapping[str, str]) -> tuple[QuerySeries, ...]:
        try:
            return tuple(map(_series, self._data(path, parameters)["result"]))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError):
            raise self._misshapen() from None

    def _misshapen(self) -> PrometheusError:
        return PrometheusError(f"{self.name}: the answer has no series in the form of the API")

    def _data(self, path: str, parameters: Mapping[str, str]) -> Any:
        # Thanos answers in part unless it is told not to; the others ignore what they do not know.
        form = {**parameters, "partial_response": "false", "timeout": _seconds(self._timeout)}
        pause = FIRST_PAUSE
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._once(path, form)
            except _TransientError as error:
                if attempt == ATTEMPTS:
                    raise error.last from error
                self._clock.wait(threading.Event(), pause)
                pause *= 2
        raise AssertionError

    def _once(self, path: str, form: Mapping[str, str]) -> Any:
        request = self._client.build_request(
            "POST", f"{self.address}/api/v1/{path}", data=dict(form), headers=self._headers
        )
        self.requests += 1
        status, kind, body = self._send(request, self._auth, self._timeout, BODY_BYTES_MAX)
        answer = _json(body)
        if not isinstance(answer, dict) or answer.get("status") not in ("success", "error"):
            error = self._of_another(status, kind)
        elif answer["status"] == "error":
            error = self._refused(status, str(answer.get("error") or answer.get("errorType") or ""))
        elif answer.get("isPartial") is True:
            raise PrometheusError(
                f"{self.name}: the answer is partial, a storage node is down: ask again when it is up"
            )
        else:
            for warning in answer.get("warnings") or ():
                if "partial" in str(warning).lower() or "store" in str(warning).lower():
                    raise PrometheusError(f"{self.name}: the answer is partial: {shown(str(warning))}")
            return answer.get("data")
        if status in TRANSIENT and not error.divisible:
            raise _TransientError(error)
        raise error

    def _send(
        self, request: httpx.Request, auth: httpx.Auth | None, timeout: Nanoseconds, limit: int
    ) -> tuple[int, str, bytes]:
        """The status, content type and body of an answer, whose bytes and time are bounded.

        Raises:
            PrometheusError: it is longer, or not whole in time.
        """
        self._deadline.at = self._clock.elapsed() + timeout
        request.extensions["trace"] = self._watch
        request.extensions["timeout"] = httpx.Timeout(timeout / NANOSECONDS_PER_SECOND).as_dict()
        if self._server_name:
            request.extensions["sni_hostname"] = self._server_name
        body = bytearray()
        try:
            with closing(self._client.send(request, auth=auth, stream=True)) as response:
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > limit:
                        raise PrometheusError(
                            f"{self.name}: an answer is longer than {limit} bytes", divisible=True
                        )
                    self._left()
                return response.status_code, response.headers.get("Content-Type", ""), bytes(body)
        except httpx.TimeoutException:
            seconds = _seconds(timeout)
            message = f"{self.name}: no answer within {seconds} s; give a longer --timeout"
            raise PrometheusError(message, divisible=True) from None
        except httpx.InvalidURL as error:
            raise PrometheusError(f"{self.name}: {error}") from None
        except httpx.RequestError as error:
            raise _TransientError(PrometheusError(f"{self.name} cannot be asked: {error}")) from None

    def _watch(self, event: str, info: Mapping[str, Any]) -> None:
        """Bound each receive by what is left of the request: of itself httpx lets headers trickle."""
        if event in CONNECTED:
            stream = info["return_value"]
            receive = stream.read
            stream.read = lambda max_bytes, timeout=None: receive(max_bytes, timeout=self._left())  # noqa: ARG005

    def _left(self) -> float:
        """Seconds left of this thread's request.

        Raises:
            httpx.ReadTimeout: none are.
        """
        left: Nanoseconds = self._deadline.at - self._clock.elapsed()
        if left <= 0:
            raise httpx.ReadTimeout("")
        return left / NANOSECONDS_PER_SECOND

    def _refused(self, status: int, message: str) -> PrometheusError:
        """The error of an answer that says one."""
        printable = "".join(character if character.isprintable() else " " for character in message[:300])
        text, lower = f'"{printable}"', message.lower()
        if any(part in lower for part in EXCESSIVE):
            return PrometheusError(
                f"{self.name} refuses even the smallest part: {text}; raise its limit (--query.max-samples "
                "of Prometheus)",
                divisible=True,
            )
        if status in (401, 403):
            return self._unauthorized(status)
        if "timed out" in lower or "timeout" in lower:
            return PrometheusError(f"{self.name}: {text}; raise --query.timeout there", divisible=True)
        return PrometheusError(f"{self.name}: HTTP {status}: {text}")

    def _unauthorized(self, status: int) -> PrometheusError:
        return PrometheusError(
            f"{self.name}: HTTP {status}: give credentials, or others, in --http.config.file"
        )

    def _of_another(self, status: int, kind: str) -> PrometheusError:
        """The error of an answer that is not the API's."""
        if status not in TRANSIENT:
            # Grafana's own health page gets no credentials: it needs none.
            parts = urlsplit(self.address)
            host = parts.netloc.rpartition("@")[2]
            address = urlunsplit((parts.scheme, host, "/api/health", "", ""))
            request = self._client.build_request("GET", address)
            try:
                health = _json(self._send(request, None, HEALTH_TIMEOUT, HEALTH_BYTES_MAX)[2])
            except (PrometheusError, _TransientError):
                health = None
            if isinstance(health, dict) and "database" in health:
                return PrometheusError(f"{self.name} {GRAFANA.format(address=self.name)}")
        if status in (401, 403):
            return self._unauthorized(status)
        what = "HTML" if "html" in kind else "no JSON of the API"
        return PrometheusError(
            f"{self.name}/api/v1 answers HTTP {status} with {what}: give the address of a Prometheus, "
            "Thanos, Mimir or VictoriaMetrics, with its prefix (Mimir: /prometheus)"
        )


class _TransientError(Exception):
    """A failure after which the query is asked again; `last` is what is raised when it fails for good."""

    def __init__(self, last: PrometheusError) -> None:
        super().__init__(str(last))
        self.last = last


def _json(body: bytes) -> Any:
    """What a body says; `None` where it is no JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _series(item: Any) -> QuerySeries:
    labels = {str(name): str(value) for name, value in item["metric"].items() if name != "__name__"}
    samples = []
    for at, value in item["values"] if "values" in item else [item["value"]]:
        float(value)  # which raises for what is no number
        samples.append(QuerySample(round(at * 1000) * 1_000_000, str(value)))
    if not samples:
        raise ValueError("a series without samples")
    return QuerySeries(labels, tuple(samples))


def _seconds(duration: Nanoseconds) -> str:
    """Seconds, to the millisecond, as the API takes them."""
    milliseconds = duration // 1_000_000
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d}"


def _limits(coarsest: Nanoseconds | None) -> Mapping[str, str]:
    """The parameter of Thanos, which of itself answers with scraped samples alone.

    https://thanos.io/tip/components/query.md/#auto-downsampling
    """
    return {} if coarsest is None else {"max_source_resolution": _seconds(coarsest)}


def _headers(config: HttpClientConfig) -> httpx.Headers:
    fields: list[tuple[str, str]] = []
    if config.authorization is not None:
        token = _secret(config.authorization.credentials_file)
        fields.append(("Authorization", f"{config.authorization.scheme} {token}"))
    for name, header in config.headers:
        fields += [(name, value) for value in (*header.values, *map(_secret, header.files))]
    return httpx.Headers(fields)


def _secret(path: Path) -> str:
    """The first line of a file.

    Raises:
        PrometheusError: it cannot be read, or is no text of one line.
    """
    try:
        with path.open("rb") as file:
            data = file.read(SECRET_BYTES_MAX + 1)
        text = data.decode("ascii").strip()
    except OSError as error:
        raise PrometheusError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        text = ""
    if not text or not text.isprintable() or len(data) > SECRET_BYTES_MAX:
        raise PrometheusError(f"{path} holds no credentials: one line of printable ASCII")
    return text


def _tls(config: HttpClientConfig) -> ssl.SSLContext:
    """A context that verifies the server.

    Raises:
        PrometheusError: a file of it cannot be used.
    """
    tls = config.tls
    path = tls.ca_file
    try:
        context = ssl.create_default_context(cafile=None if path is None else str(path))
        if tls.cert_file is not None and tls.key_file is not None:
            path = tls.cert_file
            context.load_cert_chain(tls.cert_file, tls.key_file, password=lambda: "")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise PrometheusError(f"{path} cannot be used: {error}") from error
    return context
