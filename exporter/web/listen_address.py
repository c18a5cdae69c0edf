"""Where the HTTP server listens: the address of --web.listen-address, and the socket that is opened there."""

import errno
import re
import socket
from dataclasses import dataclass
from typing import Final

HIGHEST_PORT: Final = 65535
_FORM: Final = re.compile(
    r"(?:\[(?P<six>[0-9a-fA-F:.]+(?:%\w+)?)\]|(?P<host>[^\[\]:/\s]*)):(?P<port>[0-9]{1,5})"
)
_UNKNOWN_HOST: Final = "the host is not known; choose another --web.listen-address"


class AddressError(ValueError):
    """A malformed listen address; the message has the forms that are accepted."""


class ListenError(Exception):
    """An address that cannot be listened on; the message has the reason and the remedy."""


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """A host and a port. An empty host is every address of this machine; port 0 is any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_address(text: str) -> ListenAddress:
    """Read a listen address.

    Raises:
        AddressError: not `host:port`, `[IPv6]:port` or `:port`.
    """
    match = _FORM.fullmatch(text)
    if match is None or int(match["port"]) > HIGHEST_PORT:
        raise AddressError(
            f"listen address {text!r}: expected :9844, 127.0.0.1:9844 or [::1]:9844 "
            f"(host, colon, port from 0 to {HIGHEST_PORT}; an IPv6 host in brackets)"
        )
    return ListenAddress(match["six"] or match["host"] or "", int(match["port"]))


def listen(address: ListenAddress, backlog: int) -> socket.socket:
    """Open a listening socket. An empty host takes IPv6 and IPv4 where the machine has both.

    Raises:
        ListenError: it cannot be listened on.
    """
    try:
        if not address.host and _has_ipv6():
            return _listen(socket.AF_INET6, ("::", address.port), backlog)
        if not address.host:
            return _listen(socket.AF_INET, ("0.0.0.0", address.port), backlog)  # noqa: S104  # as asked for
        family, _, _, _, name = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return _listen(family, name, backlog)
    except (OSError, UnicodeError) as error:
        raise ListenError(f"cannot listen on {address}: {_listen_problem(address, error)}") from error


def _has_ipv6() -> bool:
    """Whether IPv6 can be bound: with IPv6 compiled in and switched off, a socket opens but does not bind."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True


def _listen(family: int, name: tuple[object, ...], backlog: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # "::" alone is every address, IPv4 included, whatever the machine's default says.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(name[0] != "::"))
        listener.bind(name)
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    return listener


def _listen_problem(address: ListenAddress, error: OSError | UnicodeError) -> str:
    """The reason of a failure to listen, and what to do."""
    if isinstance(error, socket.gaierror | UnicodeError):  # of Unicode: an empty or too long label
        return _UNKNOWN_HOST
    if error.errno == errno.EADDRINUSE:
        return (
            f"the port is in use. `ss -ltnp 'sport = :{address.port}'` shows by whom; "
            "stop it or choose another --web.listen-address"
        )
    if error.errno == errno.EACCES:
        return "ports below 1024 need privileges; choose another --web.listen-address"
    if error.errno == errno.EADDRNOTAVAIL:
        return "no interface of this machine has that address; choose another --web.listen-address"
    return error.strerror or str(error)
