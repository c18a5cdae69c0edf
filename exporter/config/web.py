"""The web configuration: authentication and TLS, in the format of the Prometheus exporter toolkit.

https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md
A file that is accepted here passes `promtool check web-config`. What Python's TLS cannot do is refused.
"""

import re
from pathlib import Path
from typing import Annotated, Final

from exporter.config.document import Node, Scalar
from exporter.config.load import contents, read
from exporter.config.problems import RefusedError
from exporter.config.schema import ListOf, MappingOf, Model, Record, Table, field, keys_of
from exporter.config.values import (
    PATH_CHARACTERS,
    Choice,
    Context,
    Custom,
    Duration,
    Text,
    Whole,
    matching,
    printable,
)
from exporter.units import Nanoseconds

HEADER_CHARACTERS: Final = 2048
USER_CHARACTERS: Final = 255
MOST_USERS: Final = 100
DEAREST: Final = 18
"""The highest cost of bcrypt: a comparison then takes about 15 s, longer than a scraper waits."""

_HASH = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}", re.ASCII)


def _file_path(node: Node, context: Context) -> Path:
    """The path, from the folder of the file on unless it begins with /."""
    path = matching("path", printable(PATH_CHARACTERS), "; name a file", Path)
    return context.folder / path.read(node, context)


FILE_PATH: Final = Custom("path", _file_path)


def ascii_text(expected: str) -> Text[str]:
    """Printable ASCII, for a header or a name in a certificate; it may be empty."""
    form = re.compile(rf"[ -~]{{0,{HEADER_CHARACTERS}}}")
    return matching(
        expected, form.fullmatch, f": up to {HEADER_CHARACTERS} printable characters of ASCII", str
    )


HEADER_TEXT: Final = ascii_text("header")
NAME_TEXT: Final = ascii_text("name")


def or_blank(choice: Choice[str]) -> Custom[str]:
    """One of a few words, or an empty text, which is as if the key were not given."""

    def read_choice(node: Node, context: Context) -> str:
        blank = isinstance(node, Scalar) and not node.plain and not node.text
        return "" if blank else choice.read(node, context)

    return Custom(choice.expected, read_choice)


def _bcrypt_hash(node: Node, _: Context) -> bytes:
    """The hash; a text that is none may be a password, and is not repeated."""
    match = _HASH.fullmatch(node.text) if isinstance(node, Scalar) else None
    if match is None:
        raise RefusedError(
            "is no bcrypt hash, which begins with $2b$ or $2y$; make one: htpasswd -nBC 10 NAME"
        )
    if not 4 <= int(match[1]) <= DEAREST:
        raise RefusedError(f"has the cost {match[1]}; it takes 04 to {DEAREST}: htpasswd -nBC 10 NAME")
    return match[0].encode()


BCRYPT_HASH: Final = Custom("bcrypt hash", _bcrypt_hash)


def _user_fault(name: str) -> str | None:
    if not name or ":" in name or not name.isprintable() or len(name) > USER_CHARACTERS:
        return f"is no name of a user: 1 to {USER_CHARACTERS} printable characters without a colon"
    return None


SUITES: Final = {
    "TLS_AES_128_GCM_SHA256": "",
    "TLS_AES_256_GCM_SHA384": "",
    "TLS_CHACHA20_POLY1305_SHA256": "",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
}
"""Secure cipher suites of Go's crypto/tls, with OpenSSL's names. Those of TLS 1.3 are always on, as in Go."""

CURVES: Final = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}
"""Go's names of curves, and OpenSSL's."""


VERSIONS: Final = Choice(("TLS13", "TLS12", "TLS11", "TLS10"))
CLIENT_AUTH_TYPES: Final = Choice(
    (
        "NoClientCert",
        "RequestClientCert",
        "RequireAnyClientCert",
        "RequireClientCert",
        "VerifyClientCertIfGiven",
        "RequireAndVerifyClientCert",
    )
)


class TlsConfig(Record, frozen=True, kw_only=True):
    """TLS of connections."""

    cert_file: Annotated[Path, FILE_PATH]
    """The server's certificate, with those between it and the authority."""
    key_file: Annotated[Path, FILE_PATH]
    """The private key of the certificate, without a password."""
    client_auth_type: Annotated[str, CLIENT_AUTH_TYPES] = "NoClientCert"
    """Which certificate a client must show."""
    client_ca_file: Annotated[Path | None, FILE_PATH] = None
    """The authorities that sign clients' certificates."""
    client_allowed_sans: Annotated[tuple[str, ...], ListOf(NAME_TEXT, least=1)] = ()
    """Subject alternative names, of which a client's certificate must have one."""
    min_version: Annotated[str, VERSIONS] = "TLS12"
    """The oldest version of TLS."""
    max_version: Annotated[str, VERSIONS] = "TLS13"
    """The newest version of TLS."""
    cipher_suites: Annotated[tuple[str, ...], ListOf(Choice(tuple(SUITES)))] = ()
    """The cipher suites of TLS 1.2; those of 1.3 are always on."""
    prefer_server_cipher_suites: bool = True
    """Whether our order of suites counts, not theirs."""
    curve_preferences: Annotated[tuple[str, ...], ListOf(Choice(tuple(CURVES)))] = ()
    """The curve of key exchange: one."""

    def __post_init__(self) -> None:
        kind = self.client_auth_type
        if kind in ("RequireAnyClientCert", "RequireClientCert"):
            remedy = "write RequireAndVerifyClientCert with client_ca_file"
            raise RefusedError(f"{kind} accepts any self-made certificate", remedy, key="client_auth_type")
        verified = kind in ("VerifyClientCertIfGiven", "RequireAndVerifyClientCert")
        if verified and self.client_ca_file is None:
            message = f"{kind} needs client_ca_file: the authorities that sign their certificates"
            raise RefusedError(message, key="client_auth_type")
        if self.client_ca_file is not None and not verified:
            remedy = "write client_auth_type: RequireAndVerifyClientCert"
            raise RefusedError(f"nothing is verified under {kind}", remedy, key="client_ca_file")
        if self.client_allowed_sans and not self.requires_certificates:
            message = "needs client_auth_type: RequireAndVerifyClientCert"
            raise RefusedError(message, key="client_allowed_sans")
        for key, version in (("min_version", self.min_version), ("max_version", self.max_version)):
            if version in ("TLS10", "TLS11"):
                message = "TLS 1.0 and 1.1 are not served (RFC 8996); write TLS12 or TLS13"
                raise RefusedError(message, key=key)
        if (self.min_version, self.max_version) == ("TLS13", "TLS12"):
            raise RefusedError("is older than min_version; exchange them", key="max_version")
        if self.max_version == "TLS12" and self.cipher_suites and not self.suites:
            message = "has suites of TLS 1.3 only, and max_version is TLS12; add one of TLS 1.2"
            raise RefusedError(message, key="cipher_suites")
        if len(self.curve_preferences) > 1:
            message = "takes one curve, or none for OpenSSL's own choice; Python's TLS takes no list"
            raise RefusedError(message, key="curve_preferences")

    @property
    def requires_certificates(self) -> bool:
        """Whether a client without a certificate is refused."""
        return self.client_auth_type == "RequireAndVerifyClientCert"

    @property
    def oldest(self) -> str:
        """The oldest version of TLS that is served: suites of TLS 1.3 alone leave TLS 1.2 none."""
        return "TLS13" if self.cipher_suites and not self.suites else self.min_version

    @property
    def suites(self) -> tuple[str, ...]:
        """OpenSSL's names of the cipher suites of TLS 1.2; without any it chooses."""
        return tuple(filter(None, (SUITES[name] for name in self.cipher_suites)))

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that are read with the web configuration."""
        return tuple(filter(None, (self.cert_file, self.key_file, self.client_ca_file)))


class HeaderKeys(Model, kw_only=True):
    """Headers of every response."""

    content_security_policy: Annotated[str, HEADER_TEXT] = field(default="", name="Content-Security-Policy")
    """Sources that a page may load."""
    x_frame_options: Annotated[str, or_blank(Choice(("deny", "sameorigin")))] = field(
        default="", name="X-Frame-Options"
    )
    """Pages that may embed it."""
    x_content_type_options: Annotated[str, or_blank(Choice(("nosniff",)))] = field(
        default="", name="X-Content-Type-Options"
    )
    """Whether browsers guess at types."""
    x_xss_protection: Annotated[str, HEADER_TEXT] = field(default="", name="X-XSS-Protection")
    """XSS filter of old browsers."""
    strict_transport_security: Annotated[str, HEADER_TEXT] = field(
        default="", name="Strict-Transport-Security"
    )
    """For how long browsers insist on HTTPS."""

    def build(self) -> tuple[tuple[str, str], ...]:
        """The headers with a value, in this order."""
        values = {key.name: getattr(self, key.field) for key in keys_of(HeaderKeys)}
        return tuple((name, value) for name, value in values.items() if value)


class HttpConfig(Record, frozen=True):
    """HTTP settings."""

    http2: bool = False
    """HTTP/2 is not supported; true is logged."""
    headers: Annotated[tuple[tuple[str, str], ...], HeaderKeys] = ()
    """Headers of every response."""


class RateConfig(Record, frozen=True):
    """A token bucket: `burst` requests at once, then one in each interval."""

    interval: Annotated[Nanoseconds, Duration("0s", "60m")]
    """The time between two requests; 0s for no limit."""
    burst: Annotated[int, Whole("requests", 1, 1_000_000)]
    """Requests that may come at once."""


class WebConfig(Record, frozen=True):
    """A web configuration."""

    tls: TlsConfig | None = field(default=None, name="tls_server_config")
    """TLS of the server; without it, plain HTTP."""
    http: HttpConfig = field(default=HttpConfig(), name="http_server_config")
    """HTTP settings of responses."""
    users: Annotated[
        tuple[tuple[str, bytes], ...],
        MappingOf("mapping of users to bcrypt hashes", BCRYPT_HASH, _user_fault, MOST_USERS),
    ] = field(default=(), name="basic_auth_users")
    """Users and the bcrypt hashes of their passwords."""
    rate_limit: RateConfig | None = None
    """Limit of the request rate."""

    def __repr__(self) -> str:
        return (
            f"WebConfig(tls={self.tls}, http={self.http}, users={self.names}, rate_limit={self.rate_limit})"
        )

    @property
    def names(self) -> list[str]:
        """The names of the users, sorted."""
        return sorted(name for name, _ in self.users)

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that are read with the web configuration."""
        return self.tls.files if self.tls else ()


WEB: Final = Table(WebConfig)


def load_web(path: Path) -> WebConfig:
    """Read a web configuration; relative files are in the folder of the file.

    Raises:
        ConfigError: it cannot be read, is empty, or has a problem.
    """
    config: WebConfig = read(contents(path), str(path), WEB)
    return config
