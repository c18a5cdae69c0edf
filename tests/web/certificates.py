"""An authority and what it has signed, as files; and clients that speak to a server by TLS."""

import http.client
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import trustme

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key in two files."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates into a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = trustme.CA()
        self.file = folder / "ca.pem"
        self.ca.cert_pem.write_to_path(self.file)

    def signs(self, name: str, *identities: str, expired: bool = False) -> Pair:
        """A certificate for some names, in `name.pem` and `name.key`."""
        leaf = self.ca.issue_cert(*identities, not_after=LONG_AGO if expired else None)
        pair = Pair(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        leaf.private_key_pem.write_to_path(pair.key)
        pair.certificate.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        return pair

    def client(self, pair: Pair | None = None, *, newest: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        """What a client that trusts this authority brings."""
        context = ssl.create_default_context(cafile=str(self.file))
        if newest is not None:
            context.maximum_version = newest
        if pair is not None:
            context.load_cert_chain(pair.certificate, pair.key)
        return context


def request(
    port: int, context: ssl.SSLContext | None, path: str = "/metrics", method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers in lower case, and body of one request; plain without a context."""
    client: http.client.HTTPConnection
    if context is None:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    else:
        client = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)
    try:
        client.request(method, path, headers={key.replace("_", "-"): headers[key] for key in headers})
        response = client.getresponse()
        received = {name.lower(): value for name, value in response.getheaders()}
        return response.status, received, response.read()
    finally:
        client.close()


def first_bytes(port: int, context: ssl.SSLContext) -> bytes:
    """What a server says to a client that asks nothing; none where it closes the connection.

    A request of a refused client may meet a closed connection, whose error then hides why.

    Raises:
        ssl.SSLError: the client's certificate is refused; the message says why.
        TimeoutError: the server waits for a request, as for a client that it takes.
    """
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as client,
    ):
        return client.recv(65536)
