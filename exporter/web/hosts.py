"""Host names under which a browser is answered: a defense against DNS rebinding."""

import ipaddress
import re
import socket
from collections.abc import Iterable
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from exporter.web.connection import Request, Response, plain

RESOLVER: Final = Path("/etc/resolv.conf")

RESERVED: Final = (".localhost", ".local", ".internal", ".home.arpa", ".svc")
"""Domains that cannot be registered: RFC 6761, RFC 6762, ICANN's private-use .internal, RFC 8375, and
Kubernetes' short names of services (`.cluster.local` is below `.local`)."""

ANNOUNCED: Final = (".local", ".internal")
"""Domains in which another machine of the network may announce a name, by mDNS say, and take it back."""

_BROWSER: Final = frozenset({"accept-language", "cookie", "origin", "referer", "upgrade-insecure-requests"})
"""Headers that browsers send and scrapers, probes and curl do not. A script can change the value of
Accept-Language and not leave it out (https://fetch.spec.whatwg.org/#http-network-or-cache-fetch)."""

_NAME: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")


def host_of(text: str) -> str:
    """A host name in lower case.

    Raises:
        ValueError: it is no host name; the message has an example.
    """
    name = text.lower().rstrip(".")
    if len(name) > 253 or not _NAME.fullmatch(name):
        raise ValueError(
            f"{text!r} is no host name: write it without scheme and port, as in costs.example.com"
        )
    return name


class Hosts:
    """Host names that browsers may request.

    Another site can let its own name resolve to this machine, and its script then reads the responses. The
    Host header still has that site's name. Addresses and names without a dot are always allowed, and programs
    are served under any name.
    """

    def __init__(self, allowed: Iterable[str] = (), resolver: Path = RESOLVER) -> None:
        own = socket.gethostname().lower().rstrip(".")
        try:
            lines = resolver.read_text(encoding="ascii", errors="replace").splitlines()
        except OSError:
            lines = []
        names = {own, *(name.lower() for name in allowed)}
        for line in lines[:100]:
            keyword, *domains = line.lower().split() or [""]
            if keyword in {"search", "domain"}:  # resolv.conf(5)
                names |= {
                    f"{own.partition('.')[0]}.{domain.strip('.')}" for domain in domains if domain != "."
                }
        self._allowed = frozenset(names - {""})

    def reject(self, request: Request) -> Response | None:
        """The refusal of a browser's request for an unknown host; `None` for any other request."""
        if not is_browser(request):
            return None
        name = request.host.rstrip(".")
        is_short = bool(name) and "." not in name and not name.startswith("[")
        is_known = name in self._allowed or name.endswith(RESERVED) or is_short
        if not is_known:
            with suppress(ValueError):
                ipaddress.ip_address(name.strip("[]"))
                is_known = True
        rebound = name.endswith(ANNOUNCED) and is_of_another_site(request)
        if is_known and not rebound:
            return None
        shown = request.host[:253] or "(none)"
        return plain(
            HTTPStatus.MISDIRECTED_REQUEST,
            f"refused: a browser asks for the host {shown}, which is not known to be this server's. "
            f"If it is, start with --web.allowed-host={shown}; an address or localhost works always.",
            refused="unknown_host",
        )


def is_browser(request: Request) -> bool:
    """Whether a browser sent a request, perhaps for another site's script."""
    headers = request.headers
    return (
        not _BROWSER.isdisjoint(headers)
        or any(name.startswith("sec-") for name in headers)
        or headers.get("user-agent", "").startswith("Mozilla/")
    )


def is_of_another_site(request: Request) -> bool:
    """Whether a browser names another site as the origin of a request."""
    origin = request.headers.get("origin")
    if origin is None:
        return False
    try:
        authority = urlsplit(origin.lower()).netloc
    except ValueError:
        return True
    return not authority or authority != request.headers.get("host", "").lower()
