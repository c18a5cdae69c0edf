"""Asks a cloud's metadata service what a description of it says to ask, and nothing else."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from exporter.readings import Place, ReadFailedError
from exporter.sources.cloud.spelling import word
from exporter.sources.exchange import HEADERS, Answer, Client, Deadline, Request

LINK_LOCAL: Final = "http://169.254.169.254"
"""Where all five listen. An address: names such as metadata.google.internal need a look-up, which no timeout
of ours bounds."""

BODY_BYTES_MAX: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Question:
    """One GET. Where it is `optional`, a 404 says that there is no such thing."""

    path: str
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Token:
    """One PUT before the questions; what it answers is sent with each of them under `header`."""

    path: str
    headers: Mapping[str, str]
    header: str


@dataclass(frozen=True, slots=True)
class Service:
    """A cloud's metadata service.

    `understand` makes a place of the bodies, by the names of their questions, or raises ValueError. `echo` is
    a header, in lower case, with the value that each of its answers has and no other server's.
    """

    cloud: str
    questions: Mapping[str, Question]
    understand: Callable[[Mapping[str, bytes]], Place]
    headers: Mapping[str, str] = field(default_factory=dict)
    token: Token | None = None
    echo: tuple[str, str] | None = None


def source_name(cloud: str) -> str:
    """How a place that the service told names it."""
    return f"{cloud} metadata"


def ask(service: Service, client: Client, address: str, deadline: Deadline) -> Place:
    """Ask each question once.

    Raises:
        ReadFailedError: `connection`, `timeout`, `redirect`, `http_status`, `encoding`, `too_large`,
            `not_recognized`.
    """
    subject = f"{source_name(service.cloud)} at {address}"
    headers = {**HEADERS, "Accept": "*/*", **service.headers}

    def send(path: str, headers: Mapping[str, str], method: str = "GET") -> Answer:
        request = Request(f"{address}{path}", headers, subject, method)
        return client.ask(request, deadline, BODY_BYTES_MAX)

    try:
        if service.token is not None:
            answer = send(service.token.path, {**headers, **service.token.headers}, "PUT")
            headers[service.token.header] = _token(_checked(service, answer, subject))
        told = {}
        for name, question in service.questions.items():
            answer = send(question.path, headers)
            if not (question.optional and answer.status == HTTPStatus.NOT_FOUND):
                told[name] = _checked(service, answer, subject)
        return service.understand(told)
    except ValueError as error:
        message = f"{subject}: answers, but not as the metadata of {service.cloud} does: {error}"
        raise ReadFailedError("not_recognized", message) from error


def _checked(service: Service, answer: Answer, subject: str) -> bytes:
    if answer.status != HTTPStatus.OK:
        raise ReadFailedError("http_status", f"{subject}: answers with HTTP status {answer.status}")
    if service.echo is not None:
        name, value = service.echo
        if answer.headers.get(name) != value:
            raise ValueError(f"no header {name}: {value}")
    return answer.body


def _token(body: bytes) -> str:
    """What may be sent as a header's value.

    Raises:
        ValueError: it may not.
    """
    token = word(body.decode("ascii"))
    if not token or " " in token or "<" in token:
        raise ValueError("no token")
    return token
