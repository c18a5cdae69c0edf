"""Where to listen: `:9844`, `127.0.0.1:9844`, `[::1]:9844`."""

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
    """A listen address that is none; the message says what one looks like."""


class ListenError(Exception):
    """The address cannot be listened on; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port. An empty host is every address of this machine; port 0 is any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_address(text: str) -> Address:
    """Read a listen address.

    Raises:
        AddressError: not `host:port`, `[IPv6]:port` or `:port`.
    """
    found = _FORM.fullmatch(text)
    if found is None or int(found["port"]) > HIGHEST_PORT:
        raise AddressError(
            f"listen address {text!r}: expected :9844, 127.0.0.1:9844 or [::1]:9844 "
            f"(host, colon, port from 0 to {HIGHEST_PORT}; an IPv6 host in brackets)"
        )
    return Address(found["six"] or found["host"] or "", int(found["port"]))


def listen(address: Address, backlog: int) -> socket.socket:
    """Open a listening socket. An empty host takes IPv6 and IPv4 where the machine has both.

    Raises:
        ListenError: it cannot be listened on.
    """
    try:
        if not address.host:
            return _listen_everywhere(address.port, backlog)
        family, _, _, _, name = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return _listen(family, name, backlog)
    except UnicodeError as error:  # a name that cannot even be asked for: an empty or too long label
        raise ListenError(f"cannot listen on {address}: {_UNKNOWN_HOST}") from error
    except OSError as error:
        raise ListenError(_why(address, error)) from error


def _listen_everywhere(port: int, backlog: int) -> socket.socket:
    if _has_ipv6():
        return _listen(socket.AF_INET6, ("::", port), backlog)
    return _listen(socket.AF_INET, ("0.0.0.0", port), backlog)  # noqa: S104  # that is what was asked for


def _has_ipv6() -> bool:
    """Whether IPv6 can be bound: where it is compiled in and switched off, the socket opens all the same."""
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


def _why(address: Address, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        reason = (
            f"the port is in use. `ss -ltnp 'sport = :{address.port}'` shows by whom; "
            "stop it or choose another --web.listen-address"
        )
    elif error.errno == errno.EACCES:
        reason = "ports below 1024 need privileges; choose another --web.listen-address"
    elif error.errno == errno.EADDRNOTAVAIL:
        reason = "no interface of this machine has that address; choose another --web.listen-address"
    elif isinstance(error, socket.gaierror):
        reason = _UNKNOWN_HOST
    else:
        reason = error.strerror or str(error)
    return f"cannot listen on {address}: {reason}"
