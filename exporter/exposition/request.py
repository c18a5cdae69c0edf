"""An HTTP request's head, parsed strictly (RFC 9112), and the response to it. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

PLAIN: Final = "text/plain; charset=utf-8"

MOST_FIELDS: Final = 100
"""Header fields of one request."""

OPEN: Final = frozenset({"/-/healthy", "/-/ready"})
"""Paths that a kubelet, which knows no password and no name, may always ask. They tell nothing of money."""

_LENGTH_DIGITS: Final = 9

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_LINE: Final = re.compile(rb"(%b) ([!-~\x80-\xff]+) HTTP/(\d)\.(\d)" % _TOKEN)
_FIELD: Final = re.compile(rb"(%b):[ \t]*([\t -~\x80-\xff]*?)[ \t]*" % _TOKEN)
_HOST: Final = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+,;=-]*)(?::[0-9]{0,5})?")


class RequestError(Exception):
    """A request that is refused as it is written; `status` and a sentence for the client."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """A request without its body.

    `path` is without the query; header names are lower case, values of one name joined by commas. `host` is
    the name or address of the Host header without its port, in lower case, empty without one. `peer` is the
    client's address, `encrypted` whether it came by TLS, `length` the bytes of the body, `keep_alive`
    whether the connection stays open after the response.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    peer: str = ""
    encrypted: bool = False
    host: str = ""
    length: int = 0
    keep_alive: bool = False


@dataclass(frozen=True, slots=True)
class Response:
    """A response. `refused` is the reason that the request was not served for, as the metric names it."""

    status: HTTPStatus
    body: bytes
    content_type: str = PLAIN
    headers: Mapping[str, str] = field(default_factory=dict)
    refused: str = ""


def plain(status: HTTPStatus, text: str, *, refused: str = "", **headers: str) -> Response:
    """A response for people, one line or more."""
    return Response(status, f"{text}\n".encode(errors="replace"), headers=headers, refused=refused)


def later(text: str, reason: str) -> Response:
    """429: the client may ask again in a second."""
    return plain(HTTPStatus.TOO_MANY_REQUESTS, text, refused=reason, **{"Retry-After": "1"})


def request_line(line: bytes) -> tuple[str, str, tuple[int, int]]:
    """Method, target and version of a request line without its end.

    Raises:
        RequestError: it is none, or of another version than HTTP/1.
    """
    found = _LINE.fullmatch(line)
    if found is None:
        raise RequestError(HTTPStatus.BAD_REQUEST, "the request line is malformed")
    method, target, major, minor = found.groups()
    if int(major) != 1:
        raise RequestError(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "use HTTP/1.1")
    return method.decode("ascii"), target.decode("latin-1"), (int(major), int(minor))


def parse(line: bytes, fields: Sequence[bytes], *, peer: str = "", encrypted: bool = False) -> Request:
    """A request from its lines, without their ends and without the empty one.

    Nothing is guessed: a field that is malformed, folded or has a space before its colon refuses the whole
    request, since a proxy in front may read it differently.

    Raises:
        RequestError: it is malformed, has no Host where HTTP/1.1 asks for one, or its body has no bound.
    """
    method, target, version = request_line(line)
    headers: dict[str, str] = {}
    hosts = 0
    for each in fields:
        found = _FIELD.fullmatch(each)
        if found is None:
            raise RequestError(HTTPStatus.BAD_REQUEST, "a header field is malformed")
        key, value = found[1].decode("ascii").lower(), found[2].decode("latin-1")
        hosts += key == "host"
        headers[key] = f"{headers[key]},{value}" if key in headers else value
    if hosts > 1 or (version >= (1, 1) and not hosts):
        raise RequestError(HTTPStatus.BAD_REQUEST, "a request needs one Host")
    host = _HOST.fullmatch(headers.get("host", ""))
    if host is None:
        raise RequestError(HTTPStatus.BAD_REQUEST, "the Host is malformed")
    options = {option.strip().lower() for option in headers.get("connection", "").split(",")}
    return Request(
        method,
        target.partition("?")[0],
        headers,
        peer,
        encrypted,
        host["name"].lower(),
        _length(headers),
        keep_alive=version >= (1, 1) and "close" not in options,
    )


def _length(headers: Mapping[str, str]) -> int:
    size = headers.get("content-length", "0")
    if "transfer-encoding" in headers or not (size.isascii() and size.isdigit()):
        raise RequestError(HTTPStatus.BAD_REQUEST, "a body needs one Content-Length")
    if len(size) > _LENGTH_DIGITS:
        raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too large")
    return int(size)
