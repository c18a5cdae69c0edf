"""Which Host a browser may ask for: the defense against DNS rebinding.

A page of another site can have its own name resolve to this machine. The browser then takes this server for
that site and lets its script read the answers; the Host header still carries the other site's name. So what
a browser sends is answered under names that no stranger can register, and under those that were allowed.
Programs are answered under any name: a scrape by a DNS name of the operator's needs no configuration.
"""

import ipaddress
import re
import socket
from collections.abc import Iterable
from http import HTTPStatus
from pathlib import Path
from typing import Final

from exporter.exposition.request import Request, Response, plain

RESOLVER: Final = Path("/etc/resolv.conf")

RESERVED: Final = (".localhost", ".local", ".internal", ".home.arpa", ".svc")
"""Ends of names that nobody can register: RFC 6761, RFC 6762, ICANN's private-use .internal, RFC 8375, and
Kubernetes' short names of services (`.cluster.local` is below `.local`)."""

_BROWSER: Final = frozenset({"accept-language", "cookie", "origin", "referer", "upgrade-insecure-requests"})
"""Headers that browsers send and scrapers, probes and curl do not. A script can change the value of
Accept-Language and not leave it out (https://fetch.spec.whatwg.org/#http-network-or-cache-fetch)."""

_NAME: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")


def host_of(text: str) -> str:
    """A name that may be allowed, in lower case.

    Raises:
        ValueError: it is no host name; the message says what one looks like.
    """
    name = text.lower().rstrip(".")
    if len(name) > 253 or not _NAME.fullmatch(name):
        raise ValueError(
            f"{text!r} is no host name: write it without scheme and port, as in costs.example.com"
        )
    return name


class Hosts:
    """The names that browsers may ask for, beside addresses and names without a dot."""

    def __init__(self, allowed: Iterable[str] = (), resolver: Path = RESOLVER) -> None:
        own = socket.gethostname().lower().rstrip(".")
        searched = {f"{own.partition('.')[0]}.{domain}" for domain in _search(resolver)}
        self._allowed = frozenset({own, *searched, *(name.lower() for name in allowed)}) - {""}

    def refusal(self, request: Request) -> Response | None:
        """What is said to a browser that asks for another site's name; `None` to everybody else."""
        if not is_browser(request) or self._is_allowed(request.host):
            return None
        shown = request.host[:253] or "(none)"
        return plain(
            HTTPStatus.MISDIRECTED_REQUEST,
            f"refused: a browser asks for the host {shown}, which is not known to be this server's. "
            f"If it is, start with --web.allowed-host={shown}; an address or localhost works always.",
            refused="unknown_host",
        )

    def _is_allowed(self, host: str) -> bool:
        name = host.rstrip(".")
        if name in self._allowed or name.endswith(RESERVED):
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return bool(name) and "." not in name and not name.startswith("[")
        return True


def is_browser(request: Request) -> bool:
    """Whether a browser sent it, perhaps for another site's script."""
    headers = request.headers
    return (
        not _BROWSER.isdisjoint(headers)
        or any(name.startswith("sec-") for name in headers)
        or headers.get("user-agent", "").startswith("Mozilla/")
    )


def _search(resolver: Path) -> set[str]:
    """The domains in which this machine looks for names (resolv.conf(5))."""
    try:
        lines = resolver.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return set()
    words = [line.split() for line in lines[:100]]
    found = {word for each in words if each[:1] in (["search"], ["domain"]) for word in each[1:]}
    return {name.lower().strip(".") for name in found} - {""}
