"""The shared HTTP client, and one of its own for each https endpoint."""

import ssl
import sys
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Final

import httpx

from exporter import __version__
from exporter.readings import ReadFailedError

CONNECTIONS_MAX: Final = 16
"""Connections at a time, over all endpoints."""

CA_BYTES_MAX: Final = 1 << 20
"""Largest file of certificate authorities."""

HEADERS: Final = {
    # Some servers write `_` for `:` when asked for OpenMetrics, and none refuses the classic text format.
    "Accept": "text/plain;version=0.0.4",
    "Accept-Encoding": "identity",
    # Servers close idle connections before the next tick; a connection each is cheaper than the race.
    "Connection": "close",
    "User-Agent": f"inference-cost-exporter/{__version__}",
}


def lean_client() -> httpx.Client:
    """The client that all http endpoints share.

    Its TLS context trusts nobody, since a store of authorities is megabytes: https endpoints have their own.
    """
    return _client(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


def secure_client(ca_file: Path | None) -> httpx.Client:
    """A client for one https endpoint, which trusts the authorities of `ca_file`, else the public ones.

    Raises:
        ReadFailedError: `tls`, the file cannot be used.
    """
    if ca_file is None:
        return _client(httpx.create_ssl_context(trust_env=False))
    try:
        with ca_file.open("rb") as file:
            pem = file.read(CA_BYTES_MAX + 1)
        if len(pem) > CA_BYTES_MAX:
            raise ReadFailedError("tls", f"{ca_file}: larger than {CA_BYTES_MAX} bytes")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=pem.decode("ascii"))
    except (OSError, ValueError) as failure:  # ssl.SSLError is an OSError
        raise ReadFailedError("tls", f"{ca_file}: {failure}") from failure
    return _client(context)


def unverified_client() -> httpx.Client:
    """A client that takes any certificate: only to ask an address of this very host."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return _client(context)


def _client(context: ssl.SSLContext) -> httpx.Client:
    _load_transport()
    return httpx.Client(
        verify=context,
        trust_env=False,
        follow_redirects=False,
        headers=HEADERS,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # what a server sets is not kept
        limits=httpx.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=0),
    )


def _load_transport() -> None:
    """Load what httpx sends by, without HTTP/2.

    httpcore imports `h2` wherever that is installed, used or not: 1.2 MiB that only a host with a kubelet
    needs.
    """
    if "httpcore" in sys.modules or "h2" in sys.modules:
        return
    sys.modules["h2"] = None  # type: ignore[assignment]  # makes its import fail, as if it were not installed
    try:
        import httpcore  # noqa: F401, PLC0415 - see above
    finally:
        del sys.modules["h2"]
