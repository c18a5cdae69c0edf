"""The marks of pages, of servers and of gateways, as JSON, and back.

Thousands of marks are columns in a row of their own, which is written again only when one of them moved. The
record of the page names its row by a digest of the text: a release that does not know such rows leaves an old
one beside a newer record.
"""

import json
import math
from base64 import b64decode, b64encode
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

from exporter.cost.deltas import MARKS_MAX
from exporter.cost.state import EndpointState, GatewayState, Marks
from exporter.ledger.fields import array, integer, mapping, number, word
from exporter.readings import SeriesColumns, ServerKey

COLUMNS_CHARACTERS_MAX: Final = 48 * MARKS_MAX
"""Longest text of columns: of each mark 16 bytes twice, which are 43 characters of base64, and the frame."""

Record = dict[str, object]


def columns_record(marks: Marks) -> Record | None:
    """The row of marks that are kept in columns; `None` where they are kept by name."""
    if not (isinstance(marks.values, SeriesColumns) and isinstance(marks.gone, SeriesColumns)):
        return None
    return {"values": _base64(marks.values), "gone": _base64(marks.gone)}


def columns_digest(text: str) -> str:
    """What the record of a page names the text of its columns by."""
    return blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()


def endpoint_record(state: EndpointState, columns: str | None) -> Record:
    """One endpoint's marks. `columns` is the text of their own row, where they have one."""
    record: Record = {
        "key": [state.key.namespace, state.key.server],
        "watched_since": state.watched_since,
        "read": state.read,
        "identity": state.identity,
        "falls": state.falls,
        **_marks_record(state.marks, columns),
        "answered": state.answered,
        "youngest": state.youngest,
    }
    if columns is not None:
        # A release that does not know columns would count from zero: it is to set marks only.
        record |= {"read": False, "watched_since": state.answered, "since": state.watched_since}
    return record


def endpoint_of(record: Mapping[str, Any], columns: Mapping[str, str]) -> EndpointState:
    """As it was. `columns` are the texts of rows of columns, by their digest."""
    marks = _marks(record, columns)
    in_columns = marks is not None and "columns" in record
    return EndpointState(
        key=_server_key(record["key"]),
        watched_since=integer(record["since" if in_columns else "watched_since"]),
        read=in_columns or record.get("read", False) is True,
        identity=word(record.get("identity", "")),
        falls=integer(record.get("falls", 0)),
        marks=marks or Marks(),
        answered=integer(record.get("answered", 0)),
        youngest=integer(record.get("youngest", 0)),
    )


def gateway_record(state: GatewayState, columns: str | None) -> Record:
    """One gateway's marks. The sums by asker are what an earlier release takes differences from."""
    marks = _marks_record(state.marks, columns)
    return {
        "read": state.read,
        "identity": state.identity,
        "falls": state.falls,
        "marks": [(*asker, *values) for asker, values in state.counts.items()],
        "answered": state.answered,
        "series": marks.pop("marks"),
        **marks,
    }


def gateway_of(record: Mapping[str, Any], columns: Mapping[str, str]) -> GatewayState:
    """As it was. One that an earlier release wrote has no marks by series: the next read sets them."""
    counts: dict[tuple[str, str, str], tuple[float, float]] = {}
    for row in array(record.get("marks", [])):
        model, deployment, team, prompt, generation = array(row)
        counts[word(model), word(deployment), word(team)] = number(prompt), number(generation)
    marks = _marks({**record, "marks": record["series"]}, columns) if "series" in record else None
    return GatewayState(
        read=marks is not None and record.get("read", False) is True,
        identity=word(record.get("identity", "")),
        falls=integer(record.get("falls", 0)),
        marks=marks or Marks(),
        answered=integer(record.get("answered", 0)),
        counts=counts,
    )


def _marks_record(marks: Marks, columns: str | None) -> Record:
    record: Record = {"dropped": True} if marks.dropped else {}
    if columns is not None:
        return {"marks": {}, "columns": columns_digest(columns), **record}
    if marks.gone:
        record["gone"] = marks.gone
    return {"marks": marks.values, **record}


def _marks(record: Mapping[str, Any], columns: Mapping[str, str]) -> Marks | None:
    """The marks; `None` where they are in columns that are not there."""
    dropped = record.get("dropped", False) is True
    if "columns" not in record:
        return Marks(_numbers(record.get("marks", {})), _numbers(record.get("gone", {})), dropped)
    text = columns.get(word(record["columns"]))
    if text is None:
        return None
    if len(text) > COLUMNS_CHARACTERS_MAX:
        raise ValueError(f"columns of {len(text)} characters")
    row = mapping(json.loads(text))
    return Marks(_columns(row["values"]), _columns(row["gone"]), dropped)


def _numbers(value: object) -> dict[str, float]:
    return {series: number(mark) for series, mark in mapping(value).items()}


def _columns(value: object) -> SeriesColumns:
    columns = SeriesColumns.from_bytes(b64decode(word(value), validate=True))
    if not all(math.isfinite(mark) and mark >= 0 for mark in columns.by_digest().values()):
        raise ValueError("a mark in columns is no count")
    return columns


def _base64(columns: SeriesColumns) -> str:
    return b64encode(columns.to_bytes()).decode("ascii")


def _server_key(pair: object) -> ServerKey:
    namespace, server = array(pair)
    return ServerKey(word(namespace), word(server))
