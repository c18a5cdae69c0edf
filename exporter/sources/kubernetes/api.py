"""One GET to a Kubernetes server: by https, bounded, with the service account's token as it is now."""

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from exporter.readings import ReadFailedError
from exporter.sources.exchange import HEADERS, Answer, Client, Deadline, Request, Sink
from exporter.sources.server.token import TokenFile

REFUSALS: Final = {
    HTTPStatus.UNAUTHORIZED: "unauthorized",
    HTTPStatus.FORBIDDEN: "forbidden",
    HTTPStatus.NOT_FOUND: "not_found",
}
"""Statuses that have a reason of their own, since each asks for another remedy."""


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked of whom. `subject` is how errors name it, `limit` the longest body in bytes."""

    url: str
    subject: str
    token_file: Path
    limit: int
    accept: str = "application/json"


def document(call: Call, connect: Callable[[], Client], deadline: Deadline) -> dict[str, Any]:
    """The JSON object that a server answers.

    Token and authorities are read anew: Kubernetes renews a token long before it expires, and a CA some day.

    Raises:
        ReadFailedError: `connection`, `timeout`, `tls`, `token_file`, `redirect`, `unauthorized`,
            `forbidden`, `not_found`, `http_status`, `encoding`, `too_large`, `not_recognized`.
    """
    answer = ask(call, connect, deadline)
    try:
        told = json.loads(answer.body)
    except (ValueError, RecursionError) as error:
        raise ReadFailedError("not_recognized", f"{call.subject}: answers, but not with JSON") from error
    if not isinstance(told, dict):
        raise ReadFailedError("not_recognized", f"{call.subject}: answers, but not with a JSON object")
    return told


def ask(call: Call, connect: Callable[[], Client], deadline: Deadline, sink: Sink | None = None) -> Answer:
    """As `document`, for a body of any kind, which may go into a sink.

    Raises:
        ReadFailedError: as `document`, `not_recognized` excepted.
    """
    answer = _exchange(call, connect, deadline, sink)
    if answer.status != HTTPStatus.OK:
        reason = {int(status): word for status, word in REFUSALS.items()}.get(answer.status, "http_status")
        raise ReadFailedError(reason, f"{call.subject}: answers with HTTP status {answer.status}")
    return answer


def _exchange(call: Call, connect: Callable[[], Client], deadline: Deadline, sink: Sink | None) -> Answer:
    token = TokenFile(call.token_file).token()
    headers = {**HEADERS, "Accept": call.accept, "Authorization": f"Bearer {token}"}
    with closing(connect()) as client:
        return client.ask(Request(call.url, headers, call.subject), deadline, call.limit, sink)
