"""Where an endpoint's pages are."""

import re
from urllib.parse import parse_qsl, urlencode, urlsplit

from exporter.engines import Engine
from exporter.readings import masked


def first(url: str, engine: Engine | None) -> str:
    """The address of an endpoint's metrics, as it was configured.

    Without a path, or with one that is never read of this engine, it has the engine's own path.
    A llama.cpp router is never asked to load the model that is asked for.

    Raises:
        ValueError: what was configured is no address.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as failure:
        raise ValueError(f"{masked(url)!r} is no URL: {failure}") from failure
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{masked(url)!r} is no http or https URL")
    if "@" in parts.netloc:
        raise ValueError("a URL with credentials in it would show them; use bearer_token_file")
    if not re.fullmatch(r"[!-~]+", url):
        raise ValueError(f"{masked(url)!r} is no URL: write printable ASCII without spaces, percent-encoded")
    unread = () if engine is None else tuple(path for path, _ in engine.manual.never_read)
    if parts.path.rstrip("/") in ("", *unread):
        parts = parts._replace(path="/metrics" if engine is None else engine.default_path)
    asked = parse_qsl(parts.query, keep_blank_values=True)
    if any(key == "model" for key, _ in asked):
        others = [(key, value) for key, value in asked if key != "autoload"]
        parts = parts._replace(query=urlencode([*others, ("autoload", "false")]))
    return parts._replace(fragment="").geturl()


def beside(metrics: str, engine: Engine | None, path: str) -> str:
    """Another page of a server, behind the same prefix as its metrics and for the same model."""
    own = {"/metrics"} if engine is None else {"/metrics", engine.default_path}
    parts = urlsplit(metrics)
    here = parts.path
    # The longest first: one may end in another one.
    ending = next((each for each in sorted(own, key=len, reverse=True) if here.endswith(each)), None)
    root = here.rpartition("/")[0] if ending is None else here.removesuffix(ending)
    return parts._replace(path=root + path).geturl()
