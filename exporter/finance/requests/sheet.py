"""The rows of priced requests, as lines of JSON or as CSV, and their summary."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Literal

from exporter import units
from exporter.cost.money import add
from exporter.finance.render import csv_text, safe_cell
from exporter.finance.requests.division import Hours, ModelPool, RequestHour, served
from exporter.finance.requests.forms import LoggedRequest
from exporter.finance.requests.log_file import RequestLog
from exporter.reports.rounding import CENT, balanced, dollars_text, hundredths, rounded, ruled_table

ATTRIBUTE: Final = "gen_ai.usage.cost.amount"
"""The attribute of a request's cost, a double, of which `.currency` and `.source` stand beside it.

As open-telemetry/semantic-conventions-genai pull request 443 proposes; `local` is for who computed the cost.
"""

FIELDS: Final = (
    "record",
    "hour",
    "end",
    "id",
    "trace_id",
    "span_id",
    "model",
    "input_tokens",
    "cached_input_tokens",
    "output_tokens",
    "requests",
    "unpriced",
    "picodollars",
)
"""Fields of a row besides its attribute of cost."""

_COLUMNS: Final = (
    "record",
    "hour",
    "end",
    "id",
    "model",
    "input_tokens",
    "cached_input_tokens",
    "output_tokens",
)

Unpriced = Literal["not_served", "no_cost"]
"""Why a request has no cost: no server of the ledger has its model, or none had a cost of
tokens in its hour."""

MODELS_NAMED: Final = 10


@dataclass(slots=True)
class PricedRequests:
    """The requests of a log, priced by the hours of ledgers. Rows are made once; then it can sum up.

    Hours from `unfinished` on are not over.
    """

    log: RequestLog
    hours: Hours
    attribute: str = ATTRIBUTE
    unfinished: int | None = None
    priced: int = 0
    by_hour: dict[int, int] = field(default_factory=dict)
    _models: frozenset[str] = frozenset()
    _unpriced: Counter[Unpriced] = field(default_factory=Counter)
    _tokens_unpriced: Counter[Unpriced] = field(default_factory=Counter)
    _unserved: Counter[str] = field(default_factory=Counter)
    _names_unserved: int = 0

    def prepare(self) -> bool:
        """Add up the tokens of each hour and model. Returns whether any request has a cost."""
        self._models = served(self.hours)
        any_cost = False
        for tokens in self.log.tokens():
            hour = self.hours.get(tokens.hour)
            pool = None if hour is None else hour.pool(tokens.names)
            if pool is not None:
                pool.add_tokens(tokens)
                any_cost = True
        return any_cost

    def json_lines(self) -> Iterator[str]:
        """A line for each request, and for each hour what is not in the file, what is idle, and the sum."""
        stem = self.attribute.removesuffix(".amount")
        beside = {} if stem == self.attribute else {f"{stem}.currency": "USD", f"{stem}.source": "local"}
        for number, hour in self._every_hour():
            at = _hour_text(number)
            for request in self.log.requests(number):
                amount, reason, model = self._cost(number, hour, request)
                named = {"id": request.id, "trace_id": request.trace, "span_id": request.span}
                row = {
                    "record": "request",
                    "hour": at,
                    "end": _text(request.end),
                    **{name: value for name, value in named.items() if value},
                    "model": model,
                    "input_tokens": request.input,
                    **({} if request.cached is None else {"cached_input_tokens": request.cached}),
                    "output_tokens": request.output,
                }
                if amount is None:
                    yield json.dumps({**row, "unpriced": reason}) + "\n"
                else:
                    yield self._with_amount({**row, **beside}, amount)
            if hour is not None:
                for record, amount in _rest(hour):
                    yield self._with_amount({"record": record, "hour": at}, amount)
                row = {"record": "hour", "hour": at, "requests": self.by_hour.get(number, 0)}
                yield self._with_amount(row, hour.dollars)

    def _with_amount(self, row: dict[str, object], amount: units.Picodollars) -> str:
        """A row whose amount is written with all digits, which a float might not have."""
        text = json.dumps({**row, "picodollars": amount})
        return f"{text[:-1]}, {json.dumps(self.attribute)}: {units.plain_dollars(amount)}}}\n"

    def csv_lines(self) -> Iterator[str]:
        """The same to the cent, without sums of hours. Cents are carried on: the rows sum to the total."""
        yield _csv_line((*_COLUMNS, self.attribute))
        total = cents = 0
        for number, hour in self._every_hour():
            at = _hour_text(number)
            for request in self.log.requests(number):
                amount, reason, model = self._cost(number, hour, request)
                cell = reason
                if amount is not None:
                    total += amount
                    cell, cents = _carried(total, cents)
                cached = "" if request.cached is None else str(request.cached)
                tokens = (str(request.input), cached, str(request.output))
                yield _csv_line(("request", at, _text(request.end), request.id, model, *tokens, cell))
            if hour is not None:
                for record, amount in _rest(hour):
                    total += amount
                    cell, cents = _carried(total, cents)
                    yield _csv_line((record, at, "", "", "", "", "", "", cell))

    def _every_hour(self) -> Iterator[tuple[int, RequestHour | None]]:
        """All hours of the ledgers and of the requests; `None` for one that no ledger has."""
        for number in sorted({*self.hours, *self.log.hours()}):
            yield number, self.hours.get(number)

    def _cost(
        self, number: int, hour: RequestHour | None, request: LoggedRequest
    ) -> tuple[units.Picodollars | None, str, str]:
        """Its cost or why it has none, and its model."""
        pool: ModelPool | None = None if hour is None else hour.pool(request.names)
        if pool is not None:
            self.priced += 1
            add(self.by_hour, number, 1)
            return pool.cost(request), "", pool.model
        reason: Unpriced = "no_cost" if self._models.intersection(request.names) else "not_served"
        self._unpriced[reason] += 1
        self._tokens_unpriced[reason] += request.input + request.output
        if reason == "not_served":
            # Tokens by model, of the first ones: a log may have a million names.
            name = request.names[0]
            if name in self._unserved or len(self._unserved) < MODELS_NAMED:
                self._unserved[name] += request.input + request.output
            else:
                self._names_unserved += 1
        return None, reason, request.names[0]

    def summary(self) -> Iterator[str]:
        """Lines for people: each hour's dollars and their parts, and what was left out."""
        yield from self._table()
        yield from self.log.left_out()
        if self._unpriced["not_served"]:
            models = ", ".join(f"{name} ({count:,} tokens)" for name, count in self._unserved.most_common())
            more = f", and {self._names_unserved:,} requests of other models" if self._names_unserved else ""
            yield (
                f"note: not served here, without a cost: {self._unpriced['not_served']:,} requests, "
                f"{self._tokens_unpriced['not_served']:,} tokens: {models}{more}"
            )
        if self._unpriced["no_cost"]:
            yield (
                "warning: of hours in which the ledger has no cost of tokens of their model: "
                f"{self._unpriced['no_cost']:,} requests, {self._tokens_unpriced['no_cost']:,} tokens"
            )
        beyond: dict[tuple[str, str], int] = {}
        for hour in self.hours.values():
            for model, pool in hour.pools.items():
                for kind, count in pool.excess().items():
                    if count:
                        add(beyond, (model, kind), count)
        for (model, kind), count in sorted(beyond.items())[: 2 * MODELS_NAMED]:
            yield (
                f"warning: {model}: {count:,} {kind} tokens more than the ledger counted in their hours: two "
                "logs of the same requests, servers of other hosts, or requests across the end of an hour"
            )
        if estimated := sum(hour.estimated for hour in self.hours.values()):
            total = sum(hour.dollars for hour in self.hours.values())
            yield (
                f"warning: {dollars_text(estimated)} of {dollars_text(total)} dollars come from estimated "
                "prices"
            )
        if self.unfinished is not None and any(number >= self.unfinished for number in self.by_hour):
            yield (
                f"warning: the hour from {_hour_text(max(self.by_hour))} is not over: then its requests have "
                "another cost"
            )
        unpriced = [number for number, hour in sorted(self.hours.items()) if hour.unpriced]
        if unpriced:
            yield (
                f"warning: GPU time has no price in {len(unpriced)} hours, first in "
                f"{_hour_text(unpriced[0])}: requests of these hours cost more"
            )

    def _table(self) -> Iterator[str]:
        hours = sorted(self.hours.items())
        parts = [[hour.requests, hour.not_in_file, hour.idle] for _, hour in hours]
        rows = rounded([sum(row) for row in parts], CENT)
        columns = rounded([sum(column) for column in zip(*parts, strict=True)], CENT, total=sum(rows))
        cells = balanced(parts, rows, columns, CENT)
        table = [
            (
                _hour_text(number),
                f"{self.by_hour.get(number, 0):,}",
                *map(hundredths, row),
                hundredths(total),
            )
            for (number, _), row, total in zip(hours, cells, rows, strict=True)
        ]
        sums = ("all", f"{self.priced:,}", *map(hundredths, columns), hundredths(sum(rows)))
        headings = ("hour", "requests", "dollars of them", "not in the file", "idle", "dollars")
        yield from ruled_table(headings, table, sums)


def _rest(hour: RequestHour) -> tuple[tuple[str, units.Picodollars], ...]:
    return ("not_in_file", hour.not_in_file), ("idle", hour.idle)


def _carried(total: units.Picodollars, before: int) -> tuple[str, int]:
    """What a row adds to the rounded sum of all rows until now, and that sum in cents."""
    cents = (2 * total + CENT) // (2 * CENT)
    added = cents - before
    return f"{added // 100}.{added % 100:02d}", cents


def _csv_line(cells: tuple[str, ...]) -> str:
    """A line in which no text of a log is a formula: clients choose ids and names."""
    return csv_text([[*map(safe_cell, cells[:-1]), cells[-1]]])


def _hour_text(number: int) -> str:
    return _text(number * units.NANOSECONDS_PER_HOUR)


def _text(instant: units.Instant) -> str:
    """An instant in UTC, to the millisecond where it is not a whole second."""
    whole, rest = divmod(instant, units.NANOSECONDS_PER_SECOND)
    fraction = f".{rest // 10**6:03d}" if rest else ""
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}{fraction}Z"
