"""URLs to scrape, as values of a configuration."""

import ipaddress
import re
from collections.abc import Callable
from typing import Final
from urllib.parse import SplitResult, urlsplit, urlunsplit

from exporter.config.document import Scalar
from exporter.config.problems import RefusedError, shown
from exporter.config.values import ScalarValidator
from exporter.frozen import dataclass
from exporter.readings import masked

URL_CHARACTERS: Final = 2048
PORT_MAX: Final = 65535
METRICS_PATH: Final = "/metrics"
SCHEMES: Final = {"http": 80, "https": 443}
HOST: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?", re.ASCII)


_NO_SCHEME: Final = re.compile(r"[A-Za-z0-9._-]+:[1-9]\d{1,4}(?:/[A-Za-z0-9._/-]*)?", re.ASCII)
"""Without a query: it may hold a secret, which no message may repeat."""

_USUAL_TLS: Final = "443"
"""The end of the ports where a server without a scheme speaks https rather: 443, 8443."""

_API: Final = re.compile(
    r"/v1/?|.*/(?:v1|v2|api)/(?:(?:chat/)?completions?|chat|generate(?:_stream)?|embeddings?|embed|models|"
    r"responses|messages|rerank|health(?:/live|/ready)?|infer)/?",
    re.ASCII,
)
"""Paths of an engine's API: OpenAI's, Triton's, Ollama's."""

_BARE_API: Final = re.compile(
    r"/(?:(?:chat/)?completions?|generate(?:_stream)?|embeddings|rerank|health(?:/live|/ready)?)/?", re.ASCII
)
"""Those of vLLM, SGLang, TGI and llama.cpp that no page of metrics has. They serve it at `/metrics`."""

_OPENAI: Final = "/v1"
_METRICS_OF_NIM: Final = "/v1/metrics"
"""NIM serves it below its API: `exporter/engines/nim.py`."""


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
                number = text.partition(":")[2].partition("/")[0]
                if int(number) > PORT_MAX:
                    raise RefusedError(f"{quoted} has no valid port; write 1 to {PORT_MAX}, or none")
                if number.endswith(_USUAL_TLS):
                    raise RefusedError(f"{quoted} has no scheme; begin it with https:// or http://")
                raise RefusedError(f"{quoted} has no scheme", instead=f'"{whole}"')
            raise RefusedError(f"{quoted} is not read; write a URL that begins with http:// or https://")
        if "#" in text:
            raise RefusedError(f"{quoted} has a fragment (#), which is never sent; remove it")
        if not _is_host(parts):
            raise RefusedError(f"{quoted} has no valid host; write a name or an address")
        if port == 0 or parts.netloc.endswith(":"):
            raise RefusedError(f"{quoted} has no valid port; write 1 to {PORT_MAX}, or none")
        refuse_api(
            parts.path, quoted, lambda path: urlunsplit((parts.scheme, parts.netloc, path, "", "")), written
        )
        return urlunsplit(parts._replace(path=METRICS_PATH if parts.path in {"", "/"} else parts.path))


def refuse_api(path: str, quoted: str, whole: Callable[[str], str], written: Scalar) -> None:
    """Refuse a path of an engine's API. `quoted` is what was written, and `whole` makes the like of a path.

    Raises:
        RefusedError: it is one; proposes the page of metrics where only one is possible.
    """
    if METRICS_PATH[1:] in path.split("/"):
        return
    reason = f"{quoted} answers requests, and has no metrics"
    usual = written.restyled(whole(METRICS_PATH))
    if _BARE_API.fullmatch(path):
        raise RefusedError(reason, instead=usual)
    if _API.fullmatch(path):
        below = path.startswith(_OPENAI)
        of_nim = f"write {usual}, or of NIM {written.restyled(whole(_METRICS_OF_NIM))}"
        raise RefusedError(reason, of_nim if below else f"write where its metrics are, like {usual}")


def _is_host(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    if parts.netloc.startswith("["):
        try:
            return ipaddress.ip_address(host).version == 6
        except ValueError:
            return False
    return len(host) <= 253 and bool(HOST.fullmatch(host))
