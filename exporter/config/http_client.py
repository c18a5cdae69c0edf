"""HTTP client settings of verbs that query a server, in the format of `promtool --http.config.file`.

https://prometheus.io/docs/prometheus/latest/configuration/promtool/#promtool-tsdb
Secrets exist only as files. What would weaken TLS is refused.
"""

import re
from dataclasses import field
from pathlib import Path
from typing import Final

from exporter.config.load import contents, read
from exporter.config.schema import Key, ListOf, MappingNode, MappingOf, Table
from exporter.config.web import FilePath, Inline, Text
from exporter.frozen import dataclass, replace

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
    headers: tuple[tuple[str, Header], ...] = field(default=())


_INLINE: Final = "is a secret, which this file must not hold; write it to a file and name that as {}"

USERNAME = Key("username", Text("user name"), "The user.", required=True)
PASSWORD_FILE = Key("password_file", FilePath(), "The file that holds the password.", required=True)
PASSWORD: Key[None] = Key("password", Inline(_INLINE.format("password_file")), "Refused: name a file.")


BASIC_AUTH = Key(
    "basic_auth",
    Table(
        (USERNAME, PASSWORD_FILE, PASSWORD),
        lambda mapping: BasicAuth(mapping[USERNAME], mapping[PASSWORD_FILE]),
    ),
    "User and password.",
)
SCHEME = Key("type", Text("scheme"), "The scheme of the credentials.", default="Bearer")
CREDENTIALS_FILE = Key("credentials_file", FilePath(), "The file that holds the credentials.", required=True)
CREDENTIALS: Key[None] = Key(
    "credentials", Inline(_INLINE.format("credentials_file")), "Refused: name a file."
)
AUTHORIZATION = Key(
    "authorization",
    Table(
        (SCHEME, CREDENTIALS_FILE, CREDENTIALS),
        lambda mapping: Authorization(mapping[SCHEME], mapping[CREDENTIALS_FILE]),
    ),
    "The header Authorization, a bearer token for example.",
)
CA_FILE = Key("ca_file", FilePath(), "The authorities that sign the server's certificate.")
CERT_FILE = Key("cert_file", FilePath(), "The client's certificate.")
KEY_FILE = Key("key_file", FilePath(), "The private key of the client's certificate, without a password.")
SERVER_NAME = Key("server_name", Text("name"), "The name to expect in the server's certificate.")
SKIP_VERIFY: Key[None] = Key(
    "insecure_skip_verify",
    Inline("is not supported: anybody could answer, and read the credentials; name the authority as ca_file"),
    "Refused: name ca_file.",
)


def _certificate_has_key(mapping: MappingNode) -> None:
    for key, other in ((CERT_FILE, KEY_FILE), (KEY_FILE, CERT_FILE)):
        if key in mapping and other not in mapping:
            mapping.refuse(key, f"needs {other.name}")


TLS = Key(
    "tls_config",
    Table(
        (CA_FILE, CERT_FILE, KEY_FILE, SERVER_NAME, SKIP_VERIFY),
        lambda mapping: ClientTls(
            mapping.get(CA_FILE),
            mapping.get(CERT_FILE),
            mapping.get(KEY_FILE),
            mapping.get(SERVER_NAME) or "",
        ),
        (_certificate_has_key,),
    ),
    "TLS of the client.",
)
VALUES = Key("values", ListOf(Text("header"), least=1), "Values of the header.")
FILES = Key("files", ListOf(FilePath(), least=1), "Files that hold a value each.")
SECRETS: Key[None] = Key("secrets", Inline(_INLINE.format("files")), "Refused: name files.")


def _has_value(mapping: MappingNode) -> None:
    if VALUES not in mapping and FILES not in mapping:
        mapping.refuse(None, "needs values or files")


_HEADER: Final = Table(
    (VALUES, FILES, SECRETS),
    lambda mapping: Header(tuple(mapping.get(VALUES) or ()), tuple(mapping.get(FILES) or ())),
    (_has_value,),
)


def _header_fault(name: str) -> str | None:
    if not _HEADER_NAME.fullmatch(name):
        return "is no name of a header"
    return "is set by the client; see basic_auth and authorization" if name.lower() in RESERVED else None


HTTP_HEADERS = Key(
    "http_headers",
    MappingOf("mapping of headers to their values", _HEADER, _header_fault, HEADERS_MAX),
    "Headers of every request, X-Scope-OrgID of Mimir for example.",
)


def _one_credential(mapping: MappingNode) -> None:
    if BASIC_AUTH in mapping and AUTHORIZATION in mapping:
        mapping.refuse(AUTHORIZATION, "excludes basic_auth; remove one of them")


DOCUMENT: Final = Table(
    (BASIC_AUTH, AUTHORIZATION, TLS, HTTP_HEADERS),
    lambda mapping: HttpClientConfig(
        mapping.get(BASIC_AUTH),
        mapping.get(AUTHORIZATION),
        mapping.get(TLS) or ClientTls(),
        mapping.get(HTTP_HEADERS) or (),
    ),
    (_one_credential,),
)


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
