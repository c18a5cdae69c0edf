"""The client that all http endpoints share, and one of its own for each https endpoint.

What TLS takes is loaded by the first who asks by https: most hosts need none of it.
"""

from pathlib import Path

from exporter.sources.exchange import Client
from exporter.sources.plain import PlainClient


def lean_client() -> Client:
    """The client that all http endpoints share. It asks nobody by https."""
    return PlainClient()


def secure_client(ca_file: Path | None) -> Client:
    """A client for one https endpoint, which trusts the authorities of `ca_file`, else the public ones.

    Raises:
        ReadFailedError: `tls`, the file cannot be used.
    """
    from exporter.sources import secure  # noqa: PLC0415 - see above

    return secure.trusting(ca_file)


def unverified_client() -> Client:
    """A client that takes any certificate: only to ask an address of this very host."""
    from exporter.sources import secure  # noqa: PLC0415 - see above

    return secure.unverified()
