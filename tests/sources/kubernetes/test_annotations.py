"""What a pod may ask for, and what it may not."""

import pytest

from exporter.readings import ServiceLevel
from exporter.sources.kubernetes import PodAnnotations
from exporter.sources.kubernetes.pods import parse_annotations

NO_PORT = "is no port: a number from 1 to 65535"
NO_PATH = "is no path: / and what follows in a URL, at most 256 characters"
NONE_OF = (
    "is none of name, product, team, port, path, "
    "slo-first-token-seconds, slo-per-token-seconds, slo-target-ratio"
)
NO_OWNER = "is empty, has spaces around it, or is longer than 128 characters"


def test_all_that_there_is_to_ask_for() -> None:
    """Other annotations are others' business."""
    parsed = parse_annotations(
        {
            "inference-cost/name": "chat-8b",
            "inference-cost/product": "Chat (EU)",
            "inference-cost/team": "assistants",
            "inference-cost/port": "8000",
            "inference-cost/path": "/engine/metrics",
            "prometheus.io/port": "99999",
        }
    )

    assert parsed == PodAnnotations("chat-8b", "Chat (EU)", "assistants", 8000, "/engine/metrics")


def test_a_pod_that_asks_for_nothing() -> None:
    """Is the common one."""
    assert parse_annotations({"prometheus.io/port": "8000"}) == PodAnnotations()


@pytest.mark.parametrize(
    ("word", "text", "fault"),
    [
        ("port", "0", NO_PORT),
        ("port", "65536", NO_PORT),
        ("port", "-1", NO_PORT),
        ("port", "08000", NO_PORT),
        ("port", "8000 ", NO_PORT),
        ("port", "8000\n", NO_PORT),
        ("port", "http", NO_PORT),
        ("port", "٨٠٠٠", NO_PORT),
        ("port", "10.0.0.1:8000", NO_PORT),
        ("port", "", NO_PORT),
        ("path", "", NO_PATH),
        ("path", "metrics", NO_PATH),
        ("path", "//10.0.0.1/metrics", NO_PATH),
        ("path", "http://10.0.0.1/metrics", NO_PATH),
        ("path", "/metrics?model=x", NO_PATH),
        ("path", "/metrics#x", NO_PATH),
        ("path", "/metrics\r\nHost: x", NO_PATH),
        ("path", "/met rics", NO_PATH),
        ("path", "/\\10.0.0.1", NO_PATH),
        ("path", "/" + "x" * 256, NO_PATH),
        ("name", "", NO_OWNER),
        ("name", " chat", NO_OWNER),
        ("name", "chat\n", NO_OWNER),
        ("name", "ch\u202eat", NO_OWNER),
        ("name", "x" * 129, NO_OWNER),
        ("name", "unallocated", "is reserved"),
        ("name", "other", "is reserved"),
        ("name", "unmatched:train", "is reserved"),
        ("product", "x" * 129, NO_OWNER),
        ("team", "\x1b[31mred", NO_OWNER),
        ("slo-first-token-seconds", "0", "is no number above 0, up to 3600"),
        ("slo-first-token-seconds", "3600.1", "is no number above 0, up to 3600"),
        ("slo-first-token-seconds", "500ms", "is no number above 0, up to 3600"),
        ("slo-first-token-seconds", "1e-3", "is no number above 0, up to 3600"),
        ("slo-per-token-seconds", "61", "is no number above 0, up to 60"),
        ("slo-per-token-seconds", "NaN", "is no number above 0, up to 60"),
        ("slo-per-token-seconds", "٠٨", "is no number above 0, up to 60"),
        ("slo-per-token-seconds", "", "is no number above 0, up to 60"),
        ("slo-target-ratio", "99", "is no number above 0, up to 1"),
        ("slo-target-ratio", "0.0", "is no number above 0, up to 1"),
        ("slo-target-ratio", "0.9\n", "is no number above 0, up to 1"),
        ("slo-target-ratio", "0." + "9" * 10, "is no number above 0, up to 1"),
        ("host", "10.0.0.1", NONE_OF),
        ("", "x", NONE_OF),
    ],
)
def test_what_cannot_be_used_is_refused_and_the_rest_holds(word: str, text: str, fault: str) -> None:
    """There is no way to name a host."""
    parsed = parse_annotations({"inference-cost/team": "good", f"inference-cost/{word}": text})

    assert parsed.refused == ((word, fault),)
    assert parsed.team == ("" if word == "team" else "good")


@pytest.mark.parametrize(("port", "path"), [("1", "/"), ("65535", "/a-b_c.d~e/%20;v=1,2/@x:y")])
def test_the_bounds_are_taken(port: str, path: str) -> None:
    """Everything that RFC 3986 has in a path."""
    parsed = parse_annotations({"inference-cost/port": port, "inference-cost/path": path})
    assert (parsed.port, parsed.path, parsed.refused) == (int(port), path, ())


def test_a_pod_has_a_service_level_by_its_objectives() -> None:
    """One is enough; the target has a default, and is nothing by itself."""
    prefix = "inference-cost/slo-"
    both = {
        f"{prefix}first-token-seconds": "3600",
        f"{prefix}per-token-seconds": "0.05",
        f"{prefix}target-ratio": "1",
    }

    assert parse_annotations(both).slo == ServiceLevel(3600, 0.05, 1)
    assert parse_annotations({f"{prefix}per-token-seconds": "0.05"}).slo == ServiceLevel(None, 0.05, 0.99)
    assert parse_annotations({f"{prefix}target-ratio": "0.9"}).slo is None
    assert parse_annotations({}).slo is None
