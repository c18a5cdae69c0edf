"""The web configuration: authentication and TLS, in the format of the Prometheus exporter toolkit.

https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md
A file that is accepted here passes `promtool check web-config`. What Python's TLS cannot do is refused.
"""

import re
from dataclasses import field
from pathlib import Path
from typing import Final, Literal, TypeAlias

from exporter.config.document import Node, Scalar
from exporter.config.load import contents, read
from exporter.config.problems import RefusedError, shown
from exporter.config.schema import Context, Key, ListOf, MappingNode, MappingOf, Table, builds, missing
from exporter.config.values import PATH_CHARACTERS, Choice, Duration, ScalarValidator, Truth, Whole
from exporter.frozen import dataclass, replace
from exporter.units import Nanoseconds

HEADER_CHARACTERS: Final = 2048
USER_CHARACTERS: Final = 255
MOST_USERS: Final = 100
DEAREST: Final = 18
"""The highest cost of bcrypt: a comparison then takes about 15 s, longer than a scraper waits."""

_HASH = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}", re.ASCII)


@dataclass(frozen=True, slots=True)
class FilePath(ScalarValidator[Path]):
    """A file, relative to the folder of the file that names it unless it begins with /."""

    expected: str = "path"

    def parse(self, written: Scalar) -> Path:
        """The path as it was written."""
        text = written.text
        if not text or not text.isprintable() or len(text) > PATH_CHARACTERS:
            raise RefusedError(f"{shown(text)} is no path; name a file")
        return Path(text)


@dataclass(frozen=True, slots=True)
class Inline:
    """A key that is refused; the message has what to write instead."""

    message: str
    expected: str = "nothing"

    def read(self, node: Node, path: str, context: Context) -> None:
        """As `Validator.read`: always refused."""
        del node, path, context
        raise RefusedError(self.message)


@dataclass(frozen=True, slots=True)
class Text(ScalarValidator[str]):
    """Printable ASCII, for a header or a name in a certificate; it may be empty."""

    expected: str

    def parse(self, written: Scalar) -> str:
        """The text itself."""
        text = written.text
        if not text.isascii() or not text.isprintable() or len(text) > HEADER_CHARACTERS:
            raise RefusedError(
                f"{shown(text)} is no {self.expected}: "
                f"up to {HEADER_CHARACTERS} printable characters of ASCII"
            )
        return text


@dataclass(frozen=True, slots=True)
class OrBlank:
    """One of a few words, or an empty text, which is as if the key were not given."""

    choice: Choice[str]

    @property
    def expected(self) -> str:
        """As `Validator.expected`."""
        return self.choice.expected

    def read(self, node: Node, path: str, context: Context) -> str:
        """As `Validator.read`."""
        blank = isinstance(node, Scalar) and not node.plain and not node.text
        return "" if blank else self.choice.read(node, path, context)


@dataclass(frozen=True, slots=True)
class BcryptHash:
    """The bcrypt hash of a password."""

    expected: str = "bcrypt hash"

    def read(self, node: Node, path: str, context: Context) -> bytes:
        """As `Validator.read`."""
        del path, context
        match = _HASH.fullmatch(node.text) if isinstance(node, Scalar) else None
        if match is None:
            raise RefusedError(
                "is no bcrypt hash, which begins with $2b$ or $2y$; make one: htpasswd -nBC 10 NAME"
            )
        if not 4 <= int(match[1]) <= DEAREST:
            raise RefusedError(f"has the cost {match[1]}; it takes 04 to {DEAREST}: htpasswd -nBC 10 NAME")
        return match[0].encode()


def _user_fault(name: str) -> str | None:
    if not name or ":" in name or not name.isprintable() or len(name) > USER_CHARACTERS:
        return f"is no name of a user: 1 to {USER_CHARACTERS} printable characters without a colon"
    return None


TlsVersion: TypeAlias = Literal["TLS12", "TLS13"]

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


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """Which client certificates are accepted; without `names`, all that an authority has signed."""

    authorities: Path
    required: bool
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """TLS of connections. `suites` and `curve` have OpenSSL's names; without them it chooses."""

    certificate: Path
    key: Path
    clients: ClientConfig | None = None
    oldest: TlsVersion = "TLS12"
    newest: TlsVersion = "TLS13"
    suites: tuple[str, ...] = ()
    own_order: bool = True
    curve: str | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that are read with the web configuration."""
        return (self.certificate, self.key, *((self.clients.authorities,) if self.clients else ()))


@dataclass(frozen=True, slots=True)
class RateConfig:
    """A token bucket: `burst` requests at once, then one in each interval."""

    interval: Nanoseconds
    burst: int


@dataclass(frozen=True, slots=True)
class WebConfig:
    """A web configuration. `users` maps names to bcrypt hashes; `headers` are added to every response."""

    tls: TlsConfig | None = None
    headers: tuple[tuple[str, str], ...] = ()
    http2: bool = False
    users: dict[str, bytes] = field(default_factory=dict, repr=False)
    rate: RateConfig | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that are read with the web configuration."""
        return self.tls.files if self.tls else ()


_INLINE: Final = "is not taken from the file itself; write it to a file of its own and name that as {}"
CERT: Key[None] = Key("cert", Inline(_INLINE.format("cert_file")), "Refused: name a file.")
KEY: Key[None] = Key("key", Inline(_INLINE.format("key_file")), "Refused: name a file.")
CLIENT_CA: Key[None] = Key("client_ca", Inline(_INLINE.format("client_ca_file")), "Refused: name a file.")
CERT_FILE = Key("cert_file", FilePath(), "The server's certificate, with those between it and the authority.")
KEY_FILE = Key("key_file", FilePath(), "The private key of the certificate, without a password.")
CLIENT_AUTH = Key(
    "client_auth_type",
    Choice(
        (
            "NoClientCert",
            "RequestClientCert",
            "RequireAnyClientCert",
            "RequireClientCert",
            "VerifyClientCertIfGiven",
            "RequireAndVerifyClientCert",
        )
    ),
    "Which certificate a client must show.",
    default="NoClientCert",
)
CLIENT_CA_FILE = Key("client_ca_file", FilePath(), "The authorities that sign clients' certificates.")
CLIENT_NAMES = Key(
    "client_allowed_sans",
    ListOf(Text("name"), least=1),
    "Subject alternative names, of which a client's certificate must have one.",
)
VERSIONS: Final = Choice(("TLS13", "TLS12", "TLS11", "TLS10"))
MIN_VERSION = Key("min_version", VERSIONS, "The oldest version of TLS.", default="TLS12")
MAX_VERSION = Key("max_version", VERSIONS, "The newest version of TLS.", default="TLS13")
CIPHER_SUITES = Key(
    "cipher_suites",
    ListOf(Choice(tuple(SUITES))),
    "The cipher suites of TLS 1.2; those of 1.3 are always on.",
)
SERVER_ORDER = Key(
    "prefer_server_cipher_suites", Truth(), "Whether our order of suites counts, not theirs.", default=True
)
CURVE = Key("curve_preferences", ListOf(Choice(tuple(CURVES))), "The curve of key exchange: one.")

HTTP2 = Key("http2", Truth(), "HTTP/2 is not supported; true is logged.", default=False)
HEADERS = (
    Key("Content-Security-Policy", Text("header"), "Sources that a page may load."),
    Key(
        "X-Frame-Options",
        OrBlank(Choice(("deny", "sameorigin"))),
        "Pages that may embed it.",
    ),
    Key("X-Content-Type-Options", OrBlank(Choice(("nosniff",))), "Whether browsers guess at types."),
    Key("X-XSS-Protection", Text("header"), "XSS filter of old browsers."),
    Key("Strict-Transport-Security", Text("header"), "For how long browsers insist on HTTPS."),
)


def _has_certificate_and_key(mapping: MappingNode) -> None:
    for key in (CERT_FILE, KEY_FILE):
        if key not in mapping:
            mapping.refuse(None, missing(key))


def _clients_are_verified(mapping: MappingNode) -> None:
    kind = mapping.get(CLIENT_AUTH)
    verified = kind in ("VerifyClientCertIfGiven", "RequireAndVerifyClientCert")
    if kind in ("RequireAnyClientCert", "RequireClientCert"):
        mapping.refuse(
            CLIENT_AUTH,
            f"{kind} accepts any self-made certificate; write RequireAndVerifyClientCert with client_ca_file",
        )
    elif verified and CLIENT_CA_FILE not in mapping:
        mapping.refuse(
            CLIENT_AUTH, f"{kind} needs client_ca_file: the authorities that sign their certificates"
        )
    elif CLIENT_CA_FILE in mapping and not verified:
        mapping.refuse(
            CLIENT_CA_FILE,
            f"nothing is verified under {kind}; write client_auth_type: RequireAndVerifyClientCert",
        )
    elif CLIENT_NAMES in mapping and kind != "RequireAndVerifyClientCert":
        mapping.refuse(CLIENT_NAMES, "needs client_auth_type: RequireAndVerifyClientCert")


def _version_is_served(mapping: MappingNode) -> None:
    for key in (MIN_VERSION, MAX_VERSION):
        if mapping.get(key) in ("TLS10", "TLS11"):
            mapping.refuse(key, "TLS 1.0 and 1.1 are not served (RFC 8996); write TLS12 or TLS13")
    if (mapping.get(MIN_VERSION), mapping.get(MAX_VERSION)) == ("TLS13", "TLS12"):
        mapping.refuse(MAX_VERSION, "is older than min_version; exchange them")
    names = mapping.get(CIPHER_SUITES)
    if mapping.get(MAX_VERSION) == "TLS12" and names and not any(SUITES[name] for name in names):
        mapping.refuse(
            CIPHER_SUITES, "has suites of TLS 1.3 only, and max_version is TLS12; add one of TLS 1.2"
        )


def _takes_one_curve(mapping: MappingNode) -> None:
    if len(mapping.get(CURVE) or ()) > 1:
        mapping.refuse(CURVE, "takes one curve, or none for OpenSSL's own choice; Python's TLS takes no list")


def _tls(mapping: MappingNode) -> TlsConfig:
    kind = mapping[CLIENT_AUTH]
    clients = None
    if (authorities := mapping.get(CLIENT_CA_FILE)) is not None:
        required = kind == "RequireAndVerifyClientCert"
        clients = ClientConfig(authorities, required, mapping.get(CLIENT_NAMES) or ())
    names = mapping.get(CIPHER_SUITES) or ()
    suites = tuple(filter(None, (SUITES[name] for name in names)))
    only_newest = mapping[MIN_VERSION] == "TLS13" or bool(names and not suites)
    return TlsConfig(
        mapping[CERT_FILE],
        mapping[KEY_FILE],
        clients,
        oldest="TLS13" if only_newest else "TLS12",
        newest="TLS12" if mapping[MAX_VERSION] == "TLS12" else "TLS13",
        suites=suites,
        own_order=mapping[SERVER_ORDER],
        curve=next((CURVES[name] for name in mapping.get(CURVE) or ()), None),
    )


TLS = Key(
    "tls_server_config",
    Table(
        (
            *(CERT_FILE, KEY_FILE, CLIENT_AUTH, CLIENT_CA_FILE, CLIENT_NAMES, MIN_VERSION, MAX_VERSION),
            *(CIPHER_SUITES, SERVER_ORDER, CURVE, CERT, KEY, CLIENT_CA),
        ),
        _tls,
        (_has_certificate_and_key, _clients_are_verified, _version_is_served, _takes_one_curve),
    ),
    "TLS of the server; without it, plain HTTP.",
)
HTTP_HEADERS = Key(
    "headers",
    Table(
        HEADERS, lambda mapping: tuple((key.name, value) for key in HEADERS if (value := mapping.get(key)))
    ),
    "Headers of every response.",
)
HTTP = Key(
    "http_server_config",
    Table(
        (HTTP2, HTTP_HEADERS), lambda mapping: (mapping.get(HTTP2) or False, mapping.get(HTTP_HEADERS) or ())
    ),
    "HTTP settings of responses.",
)
USERS = Key(
    "basic_auth_users",
    MappingOf("mapping of users to bcrypt hashes", BcryptHash(), _user_fault, MOST_USERS),
    "Users and the bcrypt hashes of their passwords.",
)
INTERVAL = Key(
    "interval",
    Duration("0s", "60m"),
    "The time between two requests; 0s for no limit.",
    record=RateConfig,
    required=True,
)
BURST = Key(
    "burst",
    Whole("requests", 1, 1_000_000),
    "Requests that may come at once.",
    record=RateConfig,
    required=True,
)
RATE = Key(
    "rate_limit",
    Table((INTERVAL, BURST), builds(RateConfig)),
    "Limit of the request rate.",
)


def _web(mapping: MappingNode) -> WebConfig:
    http2, headers = mapping.get(HTTP) or (False, ())
    rate = mapping.get(RATE)
    return WebConfig(
        tls=mapping.get(TLS),
        headers=headers,
        http2=http2,
        users=dict(mapping.get(USERS) or ()),
        rate=rate if rate and rate.interval else None,
    )


WEB: Final = Table((TLS, HTTP, USERS, RATE), _web)


def load_web(path: Path) -> WebConfig:
    """Read a web configuration; the files that it names are relative to its own folder.

    Raises:
        ConfigError: it cannot be read, is empty, or has a problem.
    """
    config = read(contents(path), str(path), WEB)
    tls, folder = config.tls, path.parent
    if tls is None:
        return config
    clients = tls.clients and replace(tls.clients, authorities=folder / tls.clients.authorities)
    at = replace(tls, certificate=folder / tls.certificate, key=folder / tls.key, clients=clients)
    return replace(config, tls=at)
