"""The table of docs/web.md: every key of the web configuration."""

from typing import Final

from exporter.config.schema import Table
from exporter.config.web import DEAREST, WEB
from generators.tables import table

TLS: Final = "tls_server_config"
HTTP: Final = "http_server_config"

MEANINGS: Final = {
    TLS: "HTTPS only, without plain HTTP",
    f"{TLS}.cert_file": "required: PEM, the certificate followed by intermediates",
    f"{TLS}.key_file": "required: PEM key without a password",
    f"{TLS}.client_auth_type": "`NoClientCert` (default), `VerifyClientCertIfGiven` or"
    " `RequireAndVerifyClientCert`. `RequestClientCert` works as `NoClientCert`: no certificate is requested."
    " `RequireAnyClientCert` and its old name `RequireClientCert` are refused: they accept self-made"
    " certificates",
    f"{TLS}.client_ca_file": "authorities of client certificates; required where these are verified",
    f"{TLS}.client_allowed_sans": "alternative names (DNS, IP, e-mail, URI); a client's certificate must have"
    " one exactly; only with `RequireAndVerifyClientCert`",
    f"{TLS}.min_version": "`TLS12` (default) or `TLS13`; `TLS10` and `TLS11` are refused (RFC 8996)",
    f"{TLS}.max_version": "`TLS13` (default) or `TLS12`; `TLS10` and `TLS11` are refused (RFC 8996)",
    f"{TLS}.cipher_suites": "suites of TLS 1.2 by Go's names, those that Go calls secure; suites of TLS 1.3"
    " are always on, as in Go",
    f"{TLS}.prefer_server_cipher_suites": "`true` (default): the server's order of suites counts",
    f"{TLS}.curve_preferences": "one of `CurveP256`, `CurveP384`, `CurveP521`, `X25519`; a list is refused,"
    " as Python's TLS takes one. Without the key OpenSSL chooses",
    HTTP: "response options",
    f"{HTTP}.http2": "HTTP/2 is never served: `true` is logged, and clients get HTTP/1.1",
    f"{HTTP}.headers": "headers that replace the exporter's own",
    f"{HTTP}.headers.Content-Security-Policy": "what a page may load",
    f"{HTTP}.headers.X-Frame-Options": "`deny` or `sameorigin`",
    f"{HTTP}.headers.X-Content-Type-Options": "`nosniff`",
    f"{HTTP}.headers.X-XSS-Protection": "filter of old browsers",
    f"{HTTP}.headers.Strict-Transport-Security": "how long browsers insist on HTTPS",
    "basic_auth_users": f"users and bcrypt hashes of a cost from 4 to {DEAREST} that begin with `$2a$`,"
    " `$2b$` or `$2y$`",
    "rate_limit": "request rate; without it unlimited; excess requests get 429",
    "rate_limit.interval": "time per request after the burst (`500ms`, `1s`, `1m`; `0s` for no limit)",
    "rate_limit.burst": "requests at once",
}
"""The meaning of each key."""


def key_names(keys: object, prefix: str = "") -> list[str]:
    """The dotted name of every key of a schema, in its order."""
    if not isinstance(keys, Table):
        return []
    return [
        name
        for key in keys.keys
        for name in (f"{prefix}{key.name}", *key_names(key.validator, f"{prefix}{key.name}."))
    ]


def web_keys() -> str:
    """The table of keys.

    Raises:
        ValueError: a key is not described, or is described and not there.
    """
    names = key_names(WEB)
    if set(names) != set(MEANINGS):
        raise ValueError(f"docs/generators/web.py: describe {set(names) ^ set(MEANINGS)}")
    return table(("key", "meaning"), [(f"`{name}`", MEANINGS[name]) for name in names])


REGIONS: Final = {("web.md", "keys"): web_keys}
"""The function for each region, by page and name."""
