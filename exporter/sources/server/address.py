"""Where an endpoint's pages are."""

import httpx

from exporter.engines import Engine


def first(url: str, engine: Engine | None) -> httpx.URL:
    """The address of an endpoint's metrics, as it was configured.

    Without a path, or with one that is never read of this engine, it has the engine's own path.
    A llama.cpp router is never asked to load the model that is asked for.

    Raises:
        ValueError: what was configured is no address.
    """
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as failure:
        raise ValueError(f"{url!r} is no URL: {failure}") from failure
    if address.scheme not in ("http", "https") or not address.host:
        raise ValueError(f"{url!r} is no http or https URL")
    if address.userinfo:
        raise ValueError("a URL with credentials in it would show them; use bearer_token_file")
    unread = () if engine is None else tuple(path for path, _ in engine.manual.never_read)
    if address.path.rstrip("/") in ("", *unread):
        address = address.copy_with(path="/metrics" if engine is None else engine.default_path)
    if "model" in address.params:
        address = address.copy_set_param("autoload", "false")
    return address


def beside(metrics: httpx.URL, engine: Engine | None, path: str) -> httpx.URL:
    """Another page of a server, behind the same prefix as its metrics and for the same model."""
    own = {"/metrics"} if engine is None else {"/metrics", engine.default_path}
    here = metrics.path
    # The longest first: one may end in another one.
    ending = next((each for each in sorted(own, key=len, reverse=True) if here.endswith(each)), None)
    root = here.rpartition("/")[0] if ending is None else here.removesuffix(ending)
    return metrics.copy_with(path=root + path)
