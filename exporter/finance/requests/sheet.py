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
from exporter.finance.requests.division import Hours, served
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


@dataclass(frozen=True, slots=True)
class PricedRow:
    """A row of an hour: a request, what is not in the file, what is idle, or the sum of all."""

    record: Literal["request", "not_in_file", "idle", "hour"]
    hour: int
    """The hour, since 1970."""
    amount: units.Picodollars | None
    """`None` for a request without a cost."""
    request: LoggedRequest | None = None
    model: str = ""
    """The model of a request, by the name of its pool, else the first of its own names."""
    reason: Unpriced | None = None
    """Why a request has no cost."""


@dataclass(slots=True)
class PricedRequests:
    """The requests of a log, priced by the hours of ledgers. Rows are made once; then it can sum up."""

    log: RequestLog
    hours: Hours
    attribute: str = ATTRIBUTE
    unfinished: int | None = None
    """Hours since 1970 from this one on are not over."""
    by_hour: Counter[int] = field(default_factory=Counter)
    """The number of requests with a cost, by hour."""
    _models: frozenset[str] = frozenset()
    _unpriced: Counter[Unpriced] = field(default_factory=Counter)
    _tokens_unpriced: Counter[Unpriced] = field(default_factory=Counter)
    _unserved: Counter[str] = field(default_factory=Counter)
    """Tokens by model that is not served, of the first ones: a log may have a million names."""
    _names_unserved: int = 0
    """Requests of other models that are not served."""

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

    def rows(self) -> Iterator[PricedRow]:
        """A row for each request, and three for each hour of the ledgers."""
        for number in sorted({*self.hours, *self.log.hours()}):
            hour = self.hours.get(number)
            for request in self.log.requests(number):
                pool = None if hour is None else hour.pool(request.names)
                if pool is not None:
                    self.by_hour[number] += 1
                    yield PricedRow("request", number, pool.cost(request), request, pool.model)
                    continue
                name, tokens = request.names[0], request.input + request.output
                reason: Unpriced = "not_served"
                if self._models.intersection(request.names):
                    reason = "no_cost"
                elif name in self._unserved or len(self._unserved) < MODELS_NAMED:
                    self._unserved[name] += tokens
                else:
                    self._names_unserved += 1
                self._unpriced[reason] += 1
                self._tokens_unpriced[reason] += tokens
                yield PricedRow("request", number, None, request, name, reason)
            if hour is not None:
                yield PricedRow("not_in_file", number, hour.not_in_file)
                yield PricedRow("idle", number, hour.idle)
                yield PricedRow("hour", number, hour.dollars)

    def json_lines(self) -> Iterator[str]:
        """Rows as JSON. Amounts are written with all digits, which a float might not have."""
        stem = self.attribute.removesuffix(".amount")
        beside = {} if stem == self.attribute else {f"{stem}.currency": "USD", f"{stem}.source": "local"}
        for row in self.rows():
            fields: dict[str, object] = {"record": row.record, "hour": _hour_text(row.hour)}
            request = row.request
            if request is not None:
                named = {"id": request.id, "trace_id": request.trace, "span_id": request.span}
                fields["end"] = _text(request.end)
                fields |= {name: value for name, value in named.items() if value}
                fields |= {"model": row.model, "input_tokens": request.input}
                if request.cached is not None:
                    fields["cached_input_tokens"] = request.cached
                fields["output_tokens"] = request.output
                fields |= {"unpriced": row.reason} if row.amount is None else beside
            elif row.record == "hour":
                fields["requests"] = self.by_hour[row.hour]
            if row.amount is None:
                yield json.dumps(fields) + "\n"
            else:
                text = json.dumps({**fields, "picodollars": row.amount})
                yield f"{text[:-1]}, {json.dumps(self.attribute)}: {units.plain_dollars(row.amount)}}}\n"

    def csv_lines(self) -> Iterator[str]:
        """Rows to the cent, without sums of hours. Cents are carried on: the rows sum to the total."""
        yield csv_text([[*map(safe_cell, _COLUMNS), self.attribute]])
        total = cents = 0
        for row in self.rows():
            if row.record == "hour":
                continue
            cell: str = row.reason or ""
            if row.amount is not None:
                total += row.amount
                rounded_total = (2 * total + CENT) // (2 * CENT)
                cell = f"{(rounded_total - cents) // 100}.{(rounded_total - cents) % 100:02d}"
                cents = rounded_total
            named = ["", "", "", "", "", ""]
            request = row.request
            if request is not None:
                cached = "" if request.cached is None else str(request.cached)
                tokens = (str(request.input), cached, str(request.output))
                named = [_text(request.end), request.id, row.model, *tokens]
            # No text of a log is a formula: clients choose ids and names.
            yield csv_text([[*map(safe_cell, (row.record, _hour_text(row.hour), *named)), cell]])

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
        if self.unfinished is not None and max(self.by_hour, default=0) >= self.unfinished:
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
            (_hour_text(number), f"{self.by_hour[number]:,}", *map(hundredths, row), hundredths(total))
            for (number, _), row, total in zip(hours, cells, rows, strict=True)
        ]
        sums = ("all", f"{self.by_hour.total():,}", *map(hundredths, columns), hundredths(sum(rows)))
        headings = ("hour", "requests", "dollars of them", "not in the file", "idle", "dollars")
        yield from ruled_table(headings, table, sums)


def _hour_text(number: int) -> str:
    return _text(number * units.NANOSECONDS_PER_HOUR)


def _text(instant: units.Instant) -> str:
    """An instant in UTC, to the millisecond where it is not a whole second."""
    whole, rest = divmod(instant, units.NANOSECONDS_PER_SECOND)
    fraction = f".{rest // 10**6:03d}" if rest else ""
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}{fraction}Z"
