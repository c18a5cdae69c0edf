"""HTTP client settings of verbs that query a server, in the format of `promtool --http.config.file`.

https://prometheus.io/docs/prometheus/latest/configuration/promtool/#promtool-tsdb
Secrets exist only as files. What would weaken TLS is refused.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final

from exporter.config.load import contents, read
from exporter.config.model import Model, field, of
from exporter.config.schema import ListOf, MappingOf, Table
from exporter.config.web import FILE_PATH, ascii_text

HEADERS_MAX: Final = 20
SECRET_BYTES_MAX: Final = 64 * 1024
"""Largest file of a password, a token or a header."""

RESERVED: Final = frozenset({"authorization", "host", "content-length", "content-type", "user-agent"})
"""Headers that the client sets itself."""

_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", re.ASCII)


@dataclass(frozen=True, slots=True)
class BasicAuth:
    """A user, and the file that holds the password."""

    username: str
    password_file: Path


@dataclass(frozen=True, slots=True)
class Authorization:
    """The header Authorization: its scheme, and the file that holds the credentials."""

    scheme: str
    credentials_file: Path


@dataclass(frozen=True, slots=True)
class ClientTls:
    """Authorities to trust, a client certificate with its key, and the name to expect of the server."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    server_name: str = ""


@dataclass(frozen=True, slots=True)
class Header:
    """A header of every request: its values, and files that hold one value each."""

    values: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class HttpClientConfig:
    """How a server is asked. At most one of `basic_auth` and `authorization` is set."""

    basic_auth: BasicAuth | None = None
    authorization: Authorization | None = None
    tls: ClientTls = ClientTls()
    headers: tuple[tuple[str, Header], ...] = ()


class BasicAuthKeys(Model, kw_only=True):
    """User and password."""

    username: Annotated[str, ascii_text("user name")]
    """The user."""
    password_file: Annotated[Path, FILE_PATH]
    """The file that holds the password."""

    def build(self) -> BasicAuth:
        """The credentials."""
        return BasicAuth(self.username, self.password_file)


class AuthorizationKeys(Model, kw_only=True):
    """The header Authorization."""

    scheme: Annotated[str, ascii_text("scheme")] = field(default="Bearer", name="type")
    """The scheme of the credentials."""
    credentials_file: Annotated[Path, FILE_PATH]
    """The file that holds the credentials."""

    def build(self) -> Authorization:
        """The credentials."""
        return Authorization(self.scheme, self.credentials_file)


class ClientTlsKeys(Model, kw_only=True):
    """TLS of the client."""

    ca_file: Annotated[Path | None, FILE_PATH] = None
    """The authorities that sign the server's certificate."""
    cert_file: Annotated[Path | None, FILE_PATH] = None
    """The client's certificate."""
    key_file: Annotated[Path | None, FILE_PATH] = None
    """The private key of the client's certificate, without a password."""
    server_name: Annotated[str, ascii_text("name")] = ""
    """The name to expect in the server's certificate."""

    def build(self) -> ClientTls:
        """The settings."""
        for name, other in (("cert_file", "key_file"), ("key_file", "cert_file")):
            if self.has(name) and not self.has(other):
                self.refuse(name, f"needs {other}")
        return ClientTls(**self.given())


class RequestHeaderKeys(Model, kw_only=True):
    """Values of a header."""

    values: Annotated[tuple[str, ...], ListOf(ascii_text("header"), least=1)] = ()
    """Values of the header."""
    files: Annotated[tuple[Path, ...], ListOf(FILE_PATH, least=1)] = ()
    """Files that hold a value each."""

    def build(self) -> Header:
        """The header."""
        if not self.has("values", "files"):
            self.refuse("", "needs values or files")
        return Header(self.values, self.files)


def _header_fault(name: str) -> str | None:
    if not _HEADER_NAME.fullmatch(name):
        return "is no name of a header"
    return "is set by the client; see basic_auth and authorization" if name.lower() in RESERVED else None


class HttpClientKeys(Model, kw_only=True):
    """The whole file."""

    basic_auth: Annotated[BasicAuth | None, BasicAuthKeys] = None
    """User and password."""
    authorization: Annotated[Authorization | None, AuthorizationKeys] = None
    """The header Authorization, a bearer token for example."""
    tls_config: Annotated[ClientTls, ClientTlsKeys] = ClientTls()
    """TLS of the client."""
    http_headers: Annotated[
        tuple[tuple[str, Header], ...],
        MappingOf("mapping of headers to their values", of(RequestHeaderKeys), _header_fault, HEADERS_MAX),
    ] = ()
    """Headers of every request, X-Scope-OrgID of Mimir for example."""

    def build(self) -> HttpClientConfig:
        """The settings."""
        if self.basic_auth and self.authorization:
            self.refuse("authorization", "excludes basic_auth; remove one of them")
        return HttpClientConfig(self.basic_auth, self.authorization, self.tls_config, self.http_headers)


DOCUMENT: Final[Table[HttpClientConfig]] = of(HttpClientKeys)


def load_http_client(path: Path) -> HttpClientConfig:
    """Read HTTP client settings; the files that they name are looked for from their own folder on.

    Raises:
        ConfigError: it cannot be read, is empty, or says something that cannot be used.
    """
    config = read(contents(path), str(path), DOCUMENT)
    folder, tls = path.parent, config.tls
    basic, authorization = config.basic_auth, config.authorization
    return HttpClientConfig(
        basic and replace(basic, password_file=folder / basic.password_file),
        authorization and replace(authorization, credentials_file=folder / authorization.credentials_file),
        replace(
            tls,
            ca_file=tls.ca_file and folder / tls.ca_file,
            cert_file=tls.cert_file and folder / tls.cert_file,
            key_file=tls.key_file and folder / tls.key_file,
        ),
        tuple(
            (name, replace(header, files=tuple(folder / file for file in header.files)))
            for name, header in config.headers
        ),
    )
