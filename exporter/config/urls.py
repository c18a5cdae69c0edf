"""URLs to scrape, as values of a configuration."""

import ipaddress
import re
from typing import Final
from urllib.parse import SplitResult, urlsplit, urlunsplit

from exporter.config.document import Scalar
from exporter.config.problems import RefusedError, shown
from exporter.config.values import Text
from exporter.readings import masked

URL_CHARACTERS: Final = 2048
PORT_MAX: Final = 65535
METRICS_PATH: Final = "/metrics"
SCHEMES: Final = {"http": 80, "https": 443}
HOST: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?", re.ASCII)


_NO_SCHEME: Final = re.compile(r"[A-Za-z0-9._-]+:[1-9]\d{1,4}(?:/[A-Za-z0-9._/-]*)?", re.ASCII)
"""Without a query: it may hold a secret, which no message may repeat."""

_API: Final = re.compile(
    r"/v1/?|(?:.*/(?:v1|v2|api))?/(?:(?:chat/)?completions?|generate(?:_stream)?|embeddings?|rerank|"
    r"health(?:/live|/ready)?)/?|.*/(?:v1|v2|api)/(?:chat|embed|models|responses|messages|infer)/?",
    re.ASCII,
)
"""Paths of an engine's API: those of OpenAI, Triton, Ollama, vLLM, SGLang, TGI and llama.cpp."""


def scraped_url(token_key: str) -> Text[str]:
    """A URL to scrape: http or https, without a password or a fragment.

    `token_key` is the key to use where a password is written.
    """

    def parse(written: Scalar) -> str:
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
            raise RefusedError(f"has a user or password in it; use {token_key}")
        if parts.scheme not in SCHEMES:
            if _NO_SCHEME.fullmatch(text):
                raise RefusedError(f"{quoted} has no scheme; begin it with https:// or http://")
            raise RefusedError(f"{quoted} is not read; write a URL that begins with http:// or https://")
        if "#" in text:
            raise RefusedError(f"{quoted} has a fragment (#), which is never sent; remove it")
        if not _is_host(parts):
            raise RefusedError(f"{quoted} has no valid host; write a name or an address")
        if port == 0 or parts.netloc.endswith(":"):
            raise RefusedError(f"{quoted} has no valid port; write 1 to {PORT_MAX}, or none")
        refuse_api(parts.path, quoted)
        return urlunsplit(parts._replace(path=METRICS_PATH if parts.path in {"", "/"} else parts.path))

    return Text("URL", parse, like="http://127.0.0.1:8000/metrics")


def refuse_api(path: str, quoted: str) -> None:
    """Refuse a path of an engine's API. `quoted` is what was written.

    Raises:
        RefusedError: it is one.
    """
    if METRICS_PATH[1:] not in path.split("/") and _API.fullmatch(path):
        raise RefusedError(
            f"{quoted} answers requests, and has no metrics; "
            "write their path, like /metrics, or /v1/metrics of NIM"
        )


def _is_host(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    if parts.netloc.startswith("["):
        try:
            return ipaddress.ip_address(host).version == 6
        except ValueError:
            return False
    return len(host) <= 253 and bool(HOST.fullmatch(host))
