"""HTTP client settings of verbs that query a server, in the format of `promtool --http.config.file`.

https://prometheus.io/docs/prometheus/latest/configuration/promtool/#promtool-tsdb
Secrets exist only as files. What would weaken TLS is refused.
"""

import re
from pathlib import Path
from typing import Annotated, Final

from exporter.config.load import contents, read
from exporter.config.problems import RefusedError
from exporter.config.schema import ListOf, MappingOf, Record, Table, field
from exporter.config.web import FILE_PATH, HEADER_TEXT, NAME_TEXT, ascii_text

HEADERS_MAX: Final = 20
SECRET_BYTES_MAX: Final = 64 * 1024
"""Largest file of a password, a token or a header."""

RESERVED: Final = frozenset({"authorization", "host", "content-length", "content-type", "user-agent"})
"""Headers that the client sets itself."""

_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", re.ASCII)


class BasicAuth(Record, frozen=True):
    """User and password."""

    username: Annotated[str, ascii_text("user name")]
    """The user."""
    password_file: Annotated[Path, FILE_PATH]
    """The file that holds the password."""


class Authorization(Record, frozen=True):
    """The header Authorization."""

    credentials_file: Annotated[Path, FILE_PATH]
    """The file that holds the credentials."""
    scheme: Annotated[str, ascii_text("scheme")] = field(default="Bearer", name="type")
    """The scheme of the credentials."""


class ClientTls(Record, frozen=True):
    """TLS of the client."""

    ca_file: Annotated[Path | None, FILE_PATH] = None
    """The authorities that sign the server's certificate."""
    cert_file: Annotated[Path | None, FILE_PATH] = None
    """The client's certificate."""
    key_file: Annotated[Path | None, FILE_PATH] = None
    """The private key of the client's certificate, without a password."""
    server_name: Annotated[str, NAME_TEXT] = ""
    """The name to expect in the server's certificate."""

    def __post_init__(self) -> None:
        if self.cert_file is not None and self.key_file is None:
            raise RefusedError("needs key_file", key="cert_file")
        if self.key_file is not None and self.cert_file is None:
            raise RefusedError("needs cert_file", key="key_file")


class Header(Record, frozen=True):
    """Values of a header."""

    values: Annotated[tuple[str, ...], ListOf(HEADER_TEXT, least=1)] = ()
    """Values of the header."""
    files: Annotated[tuple[Path, ...], ListOf(FILE_PATH, least=1)] = ()
    """Files that hold a value each."""

    def __post_init__(self) -> None:
        if not self.values and not self.files:
            raise RefusedError("needs values or files")


def _header_fault(name: str) -> str | None:
    if not _HEADER_NAME.fullmatch(name):
        return "is no name of a header"
    return "is set by the client; see basic_auth and authorization" if name.lower() in RESERVED else None


class HttpClientConfig(Record, frozen=True):
    """The whole file."""

    basic_auth: BasicAuth | None = None
    """User and password."""
    authorization: Authorization | None = None
    """The header Authorization, a bearer token for example."""
    tls: ClientTls = field(default=ClientTls(), name="tls_config")
    """TLS of the client."""
    headers: Annotated[
        tuple[tuple[str, Header], ...],
        MappingOf("mapping of headers to their values", Table(Header), _header_fault, HEADERS_MAX),
    ] = field(default=(), name="http_headers")
    """Headers of every request, X-Scope-OrgID of Mimir for example."""

    def __post_init__(self) -> None:
        if self.basic_auth and self.authorization:
            raise RefusedError("excludes basic_auth; remove one of them", key="authorization")


DOCUMENT: Final = Table(HttpClientConfig)


def load_http_client(path: Path) -> HttpClientConfig:
    """Read HTTP client settings; relative files are in the folder of the file.

    Raises:
        ConfigError: it cannot be read, is empty, or has a problem.
    """
    config: HttpClientConfig = read(contents(path), str(path), DOCUMENT)
    return config
