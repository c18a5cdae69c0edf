"""URLs to scrape, as values of a configuration."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit, urlunsplit

from exporter.config.document import Scalar
from exporter.config.problems import RefusedError, shown
from exporter.config.values import ScalarValidator
from exporter.readings import masked

URL_CHARACTERS: Final = 2048
METRICS_PATH: Final = "/metrics"
SCHEMES: Final = {"http": 80, "https": 443}
HOST: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?", re.ASCII)


_NO_SCHEME: Final = re.compile(r"[A-Za-z0-9._-]+:[1-9]\d{1,4}(?:/[A-Za-z0-9._/-]*)?", re.ASCII)
"""Without a query: it may hold a secret, which no message may repeat."""

_API: Final = re.compile(
    r"(?P<base>.*?)(?:/v1|(?:/v1|/v2|/api)?/(?:(?:chat/)?completions?|chat|generate(?:_stream)?|embeddings?|"
    r"embed|models|responses|messages|rerank|health(?:/live|/ready)?|infer|docs))/?",
    re.ASCII,
)
"""Paths of an engine's API, in place of which its metrics are meant: OpenAI's, Triton's, Ollama's, TGI's."""


@dataclass(frozen=True, slots=True)
class Url(ScalarValidator[str]):
    """A URL to scrape: http or https, without a password or a fragment."""

    expected: str = "URL"
    instead: str = "metrics.bearer_token_file"
    """The key to use where a password is written."""

    @property
    def example(self) -> str:
        """A URL of a server on this host."""
        return "URL like http://127.0.0.1:8000/metrics"

    def parse(self, written: Scalar) -> str:
        """The URL, with the path of metrics where it has none."""
        text = written.text
        before, mark, fragment = text.partition("#")
        # A password may stand before an @, and a key in a query.
        quoted = "this" if "@" in text else shown(f"{masked(before)}{mark}{fragment}")
        if len(text) > URL_CHARACTERS or not re.fullmatch(r"[!-~]+", text):
            raise RefusedError(f"{quoted} is no URL: write printable ASCII without spaces, percent-encoded")
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise RefusedError(f"{quoted} is no URL: {error}") from None
        if "@" in parts.netloc:
            raise RefusedError(f"has a user or password in it; use {self.instead}")
        if parts.scheme not in SCHEMES:
            whole = f"http://{text}"
            if _NO_SCHEME.fullmatch(text) and _is_host(urlsplit(whole)):
                raise RefusedError(f"{quoted} has no scheme", instead=f'"{whole}"')
            raise RefusedError(f"{quoted} is not read; write a URL that begins with http:// or https://")
        if "#" in text:
            raise RefusedError(f"{quoted} has a fragment (#), which is never sent; remove it")
        if not _is_host(parts):
            raise RefusedError(f"{quoted} has no valid host; write a name or an address")
        if port == 0 or parts.netloc.endswith(":"):
            raise RefusedError(f"{quoted} has no valid port; write 1 to 65535, or none")
        if (path := metrics_path_of(parts.path)) is not None:
            instead = urlunsplit((parts.scheme, parts.netloc, path, "", ""))
            reason = f"{quoted} answers requests, and has no metrics"
            raise RefusedError(reason, instead=written.restyled(instead))
        return urlunsplit(parts._replace(path=METRICS_PATH if parts.path in {"", "/"} else parts.path))


def metrics_path_of(path: str) -> str | None:
    """The path of metrics beside a path of an engine's API; `None` for another path."""
    match = _API.fullmatch(path)
    return None if match is None else f"{match['base']}{METRICS_PATH}"


def _is_host(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    if parts.netloc.startswith("["):
        try:
            return ipaddress.ip_address(host).version == 6
        except ValueError:
            return False
    return len(host) <= 253 and bool(HOST.fullmatch(host))
