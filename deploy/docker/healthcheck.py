"""Whether the exporter in this container answers: exit status 0 or 1, for the image's HEALTHCHECK.

Requests `HEALTH_URL`; set it for another `--web.listen-address` or for TLS.
Any response counts, also 401: the check is whether the process lives.
"""

import os
import socket
import sys

SECONDS = 4


def answer(url: str) -> bytes:
    """The status line of what a URL answers, like `HTTP/1.1 200 OK`.

    Sockets and no HTTP library: this runs every minute, and imports would be most of what it costs.

    Raises:
        OSError: no listener, or no response in time.
    """
    scheme, _, rest = url.partition("://")
    address, _, path = rest.partition("/")
    host, _, port = address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), SECONDS) as plain:
        connection = plain
        if scheme == "https":
            import ssl  # noqa: PLC0415 - costs more than all the rest, and is seldom needed

            # Our own process, over loopback: who it is, is not in question.
            connection = ssl._create_unverified_context().wrap_socket(plain)  # noqa: S323, SLF001
        connection.sendall(f"GET /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
        return connection.recv(256).partition(b"\r\n")[0]


def healthy(line: bytes) -> bool:
    """Whether a status line is of a process that answers as it should."""
    return line.startswith(b"HTTP/") and line.split(b" ")[1:2] in ([b"200"], [b"401"])


if __name__ == "__main__":
    try:
        body = answer(os.environ["HEALTH_URL"])
    except OSError as error:
        sys.exit(f"{os.environ['HEALTH_URL']}: {error}")
    if not healthy(body):
        sys.exit(f"{os.environ['HEALTH_URL']}: {body.decode(errors='replace')}")
