"""What is known of a server beside its page: the page wins where it tells itself."""

from collections.abc import Callable
from typing import Any

import pytest

from exporter.sources.server import ServerContext, ServerSource
from tests.sources.server.conftest import VLLM_PAGE

CONTEXT = ServerContext(
    pod="chat-0",
    identity="7:1",
    started=1_700_000_000 * 10**9,
    absent_at=5,
    spans_hosts=True,
    role="decode",
    world_size=4,
)
LLAMA_PAGE = b"llamacpp:prompt_tokens_total 10\nllamacpp:tokens_predicted_total 20\n"
HEADER = {"Process-Start-Time-Unix": "1824948099"}


@pytest.mark.parametrize(
    ("page", "headers", "identity", "started"),
    [
        (VLLM_PAGE, {}, "started 1500000000.0", 1_500_000_000 * 10**9),
        # Which process, but not since when by any calendar.
        (LLAMA_PAGE, HEADER, "1824948099", None),
        (LLAMA_PAGE, {}, "", None),
    ],
)
def test_a_page_tells_who_it_is_of_as_far_as_it_can(
    make: Callable[..., ServerSource],
    site: Any,
    page: bytes,
    headers: dict[str, str],
    identity: str,
    started: int | None,
) -> None:
    """Who listens stands beside it, as it was found: a proxy may pass the page on."""
    site.set_page("/metrics", page, **headers)
    reading = make(context=CONTEXT).read()
    assert (reading.identity, reading.started) == (identity, started)
    assert (reading.listener, reading.listener_started) == (CONTEXT.identity, CONTEXT.started)


def test_what_no_page_tells(make: Callable[..., ServerSource], site: Any) -> None:
    """Pod, role and world are of whoever found the server."""
    site.set_page("/metrics", VLLM_PAGE)
    reading = make(context=CONTEXT).read()
    assert (reading.pod, reading.role, reading.spans_hosts, reading.world_size) == (
        "chat-0",
        "decode",
        True,
        4,
    )
    assert reading.absent_at == CONTEXT.absent_at
