"""Tables of docs/outbound-requests.md: requests to metadata services and the errors of a scrape."""

from typing import Final

from exporter.engines.exposition import LINE_BYTES, SERIES_MAX, WANTED_BYTES
from exporter.readings.unread import UnreadReason
from exporter.sources.cloud.services import SERVICES
from exporter.sources.compression import RATIO_FREE, RATIO_MAX
from exporter.sources.server.source import BODY_BYTES_MAX, TIMEOUT_SECONDS
from generators.tables import table


def cloud_requests() -> str:
    """The requests to each cloud's metadata service, in their order."""
    rows = []
    for cloud, service in SERVICES.items():
        paths = [f"`{question.path}`" for question in service.questions.values()]
        if service.token is not None:
            paths.insert(0, f"`PUT {service.token.path}`")
        rows.append((f"`{cloud}`", "<br>".join(paths)))
    return table(("cloud", "requests"), rows)


FAILED: Final = "the read fails"
SKIPPED: Final = "the line is skipped"
SERIES: Final = "the series is skipped"


def scrape_errors() -> str:
    """Each defect of a page, what the exporter does with it, and the reason that it counts."""
    mebibytes = WANTED_BYTES >> 20
    rows: list[tuple[str, str, UnreadReason | str]] = [
        ("no listener, no HTTP, or the connection breaks", FAILED, UnreadReason.CONNECTION),
        (f"incomplete after {TIMEOUT_SECONDS:g} seconds", FAILED, UnreadReason.TIMEOUT),
        (
            f"larger than `limits.body_bytes` (default {BODY_BYTES_MAX >> 20} MiB), as sent or expanded",
            f"{FAILED}; receiving stops",
            UnreadReason.TOO_LARGE,
        ),
        (
            f"gzip that expands to more than {RATIO_FREE >> 20} MiB and {RATIO_MAX} times its size",
            f"{FAILED}; expansion stops",
            UnreadReason.TOO_LARGE,
        ),
        (
            f"more than {SERIES_MAX:,} series, or {mebibytes} MiB of lines, of the names that are read",
            FAILED,
            UnreadReason.TOO_LARGE,
        ),
        ("damaged gzip, or another compression", FAILED, UnreadReason.ENCODING),
        ("a redirect", f"{FAILED}; no token is sent elsewhere", UnreadReason.REDIRECT),
        ("an untrusted certificate", FAILED, UnreadReason.CERTIFICATE),
        ("a certificate for another name", FAILED, UnreadReason.CERTIFICATE_NAME),
        ("status 401 or 403", FAILED, UnreadReason.UNAUTHORIZED),
        ("status 404", FAILED, UnreadReason.NOT_FOUND),
        ("status 501, or 404 with metrics off by command line", FAILED, UnreadReason.METRICS_OFF),
        ("any other status than 200", FAILED, UnreadReason.HTTP_STATUS),
        ("HTML or another page without token counters", FAILED, UnreadReason.NOT_RECOGNIZED),
        ("the same with `engine` configured", FAILED, UnreadReason.NO_TOKENS),
        (f"an invalid line, or one above {LINE_BYTES >> 10} KiB", SKIPPED, "malformed"),
        ("a repeated series", "the first counts, as in Prometheus", "duplicate"),
        ("a counter that is negative, above 2^53 or no number", SERIES, "implausible"),
        (
            "a counter that rises by more than 100 million a second since the last good read",
            "the series adds nothing and keeps its mark until it is back",
            "implausible_tokens",
        ),
        ("a gauge of requests above a million", SERIES, ""),
        ("models beyond `limits.models`", "their tokens and cost go to model `other`", "too_many_models"),
        (
            "another process answers that was already running, as behind a Service of several replicas",
            "its counters set a new start; tokens between the turns are unknown",
            "several_processes",
        ),
    ]
    cells = [(defect, outcome, f"`{reason}`" if reason else "") for defect, outcome, reason in rows]
    return table(("answer", "outcome", "`reason`"), cells)


REGIONS: Final = {
    ("outbound-requests.md", "cloud-requests"): cloud_requests,
    ("outbound-requests.md", "scrape-errors"): scrape_errors,
}
"""The function for each region, by page and name."""
