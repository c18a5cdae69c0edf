"""Tables of docs/outbound-requests.md: requests to metadata services and the errors of a scrape."""

import ast
import re
from pathlib import Path
from typing import Final

from exporter.engines.exposition import LINE_BYTES, SERIES_MAX, WANTED_BYTES
from exporter.readings import FailureReason
from exporter.sources.cloud import RENEWAL
from exporter.sources.cloud.metadata import SERVICES
from exporter.sources.http_client import RATIO_FREE, RATIO_MAX
from exporter.sources.server.endpoint import BODY_BYTES_MAX, TIMEOUT_SECONDS
from exporter.units import NANOSECONDS_PER_SECOND
from generators.tables import table


def cloud_requests() -> str:
    """The requests to each cloud's metadata service, in their order."""
    rows = []
    for cloud, service in SERVICES.items():
        paths = [f"`{path}`" for path in service.location.paths.values()]
        if service.token is not None:
            paths.insert(0, f"`PUT {service.token.path}`")
        if service.notice is not None:
            every = f"spot hosts, each {RENEWAL // NANOSECONDS_PER_SECOND} s"
            paths += [f"`{path}` ({every})" for path in service.notice.paths.values()]
        rows.append((f"`{cloud}`", "<br>".join(paths)))
    return table(("cloud", "requests"), rows)


FAILED: Final = "the read fails"
SKIPPED: Final = "the line is skipped"
SERIES: Final = "the series is skipped"


def scrape_errors() -> str:
    """Each defect of a page, what the exporter does with it, and the reason that it counts."""
    mebibytes = WANTED_BYTES >> 20
    rows: list[tuple[str, str, FailureReason | str]] = [
        ("no listener, no HTTP, or the connection breaks", FAILED, FailureReason.CONNECTION),
        (
            "another socket listens on this host than the one that was found, or than that of `user`",
            f"{FAILED}; not a byte is sent",
            FailureReason.NOT_LISTENING,
        ),
        (
            "`localhost` where two users listen, at 127.0.0.1 and at ::1",
            f"{FAILED}; write the address, or `user`",
            FailureReason.NOT_LISTENING,
        ),
        (f"incomplete after {TIMEOUT_SECONDS:g} seconds", FAILED, FailureReason.TIMEOUT),
        (
            f"larger than `limits.body_bytes` (default {BODY_BYTES_MAX >> 20} MiB), as sent or expanded",
            f"{FAILED}; receiving stops",
            FailureReason.TOO_LARGE,
        ),
        (
            f"gzip that expands to more than {RATIO_FREE >> 20} MiB and {RATIO_MAX} times its size",
            f"{FAILED}; expansion stops",
            FailureReason.TOO_LARGE,
        ),
        (
            f"more than {SERIES_MAX:,} series, or {mebibytes} MiB of lines, of the names that are read",
            FAILED,
            FailureReason.TOO_LARGE,
        ),
        ("damaged gzip, another compression, or a byte order mark", FAILED, FailureReason.ENCODING),
        ("a redirect", f"{FAILED}; no token is sent elsewhere", FailureReason.REDIRECT),
        ("an untrusted certificate", FAILED, FailureReason.CERTIFICATE),
        ("a certificate for another name", FAILED, FailureReason.CERTIFICATE_NAME),
        ("status 401 or 403", FAILED, FailureReason.UNAUTHORIZED),
        ("status 404", FAILED, FailureReason.NOT_FOUND),
        ("status 501, or 404 with metrics off by command line", FAILED, FailureReason.METRICS_OFF),
        ("any other status than 200", FAILED, FailureReason.HTTP_STATUS),
        ("HTML or another page without token counters", FAILED, FailureReason.NOT_RECOGNIZED),
        ("the same with `engine` configured", FAILED, FailureReason.NO_TOKENS),
        (f"an invalid line, or one above {LINE_BYTES >> 10} KiB", SKIPPED, "malformed"),
        ("a repeated series", "the first counts, as in Prometheus", "duplicate"),
        ("a counter that is negative, above 2^53 or no number", SERIES, "implausible"),
        (
            "a counter that rises by more than 100 million a second since the last good read",
            "the series adds nothing and keeps its mark until it is back",
            "implausible_tokens",
        ),
        (
            "a latency histogram whose buckets contradict each other, with a `slo`",
            "no histogram of the page counts; the next good read has what this one lacks",
            "bad_histograms",
        ),
        ("a gauge of requests above a million", SERIES, ""),
        ("models beyond `limits.models`", "their tokens and cost go to model `other`", "too_many_models"),
        (
            "another process answers that was already running, as after a rolling update",
            "its counters set new marks; tokens before them are unknown",
            "several_processes",
        ),
        (
            "the process before it answers again, or counters fall and come back twice within an hour",
            "several processes answer: nothing is counted from that URL for a day",
            "several_processes",
        ),
    ]
    cells = [(defect, outcome, f"`{reason}`" if reason else "") for defect, outcome, reason in rows]
    return table(("answer", "outcome", "`reason`"), cells)


PACKAGE: Final = Path(__file__).parents[2] / "exporter" / "sources"

HTTPS: Final = "`node_labels`, `pods` by https"
SOCKET: Final = "`pods` by socket"
PODS: Final = "`pods`"

SOURCE_ERRORS: Final = (
    ("all", "connection", "no connection, or it breaks"),
    ("all", "timeout", "incomplete at the deadline"),
    ("all", "too_large", "larger than the limit"),
    (f"`cloud`, {HTTPS}", "redirect", "redirects are not followed"),
    (f"`cloud`, {HTTPS}", "http_status", "another status than 200"),
    (f"`cloud`, {HTTPS}", "encoding", "an encoding that was not requested"),
    (f"`cloud`, {HTTPS}", "not_recognized", "the response is not that of the service"),
    (HTTPS, "unauthorized", "401: the token is invalid"),
    (HTTPS, "forbidden", "403: the role is missing"),
    (HTTPS, "not_found", "404: `NODE_NAME` is no node"),
    (HTTPS, "node_name", "`NODE_NAME` is not set"),
    (HTTPS, "token_file", "the token is unreadable"),
    (HTTPS, "tls", "the TLS handshake fails"),
    ("`pods` by https", "node_ip", "`NODE_IP` is not set"),
    ("`pods` by https", "not_listening", "no root listens where the kubelet should, or it cannot be seen"),
    (SOCKET, "absent", "there is no socket"),
    (SOCKET, "denied", "the socket needs root"),
    (SOCKET, "refused", "no kubelet listens"),
    (SOCKET, "starting", "the kubelet does not know all pods yet"),
    (SOCKET, "unimplemented", "the kubelet has no Pods API"),
    (SOCKET, "exhausted", "all clients together exceed the kubelet's rate limit"),
    (SOCKET, "not_kubelet", "the response is not HTTP/2, or another user than root listens"),
    (SOCKET, "malformed", "the response cannot be decoded"),
    (SOCKET, "grpc_status", "another gRPC error"),
    (PODS, "pod", "a pod of another node"),
    (PODS, "too_many_pods", "pods beyond the limit"),
    (PODS, "annotation_", "a refused annotation; its last word follows"),
    ("`processes`", "contested", "two groups of one user claim one port"),
    ("`processes`", "refused", "a claim on a port, name, share or token was refused"),
    ("`nvml`", "too_many", "more than 256 processes on a GPU; those with the least memory are skipped"),
    ("`nvml`", "implausible", "an impossible pid; 0 needs `hostPID`"),
    ("`server:NAME`", "backoff", "the tick fell into a pause after slow failures"),
    ("`server:NAME`", "queued", "the read waits for a thread"),
    ("`server:NAME`", "busy", "the last read still runs"),
    (
        "`gateway:HOST:PORT/PATH`",
        "not_recognized",
        "the page names no clients, or no `cached_prompt` of `counters`",
    ),
    ("`gateway:HOST:PORT/PATH`", "no_teams", "the page lacks the label that `divide` is by"),
    (
        "`gateway:HOST:PORT/PATH`",
        "too_large",
        "more than 20,000 series, or 1,000 models, deployments and teams",
    ),
)
"""The source, the reason and its meaning, for sources other than the page of a server."""


def source_errors() -> str:
    """The reasons of sources, with their meanings.

    Raises:
        ValueError: a reason is no string of the package of sources.
    """
    strings = {
        node.value
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
    } | set(FailureReason)
    unknown = [reason for _, reason, _ in SOURCE_ERRORS if reason not in strings]
    if unknown:
        raise ValueError(f"docs/generators/outbound.py: no source has {unknown}")
    return table(
        ("source", "`reason`", "meaning"),
        [(source, f"`{reason}`", why) for source, reason, why in SOURCE_ERRORS],
    )


NVML_CALLS: Final = (
    (
        "when NVML is opened",
        "",
        "identity, and what the GPU supports",
        (
            "nvmlSystemGetDriverVersion",
            "nvmlDeviceGetHandleByIndex",
            "nvmlDeviceGetName",
            "nvmlDeviceGetPciInfo",
            "nvmlDeviceGetMinorNumber",
            "nvmlGpmQueryDeviceSupport",
            "nvmlGpmSampleAlloc",
            "nvmlGpmSampleFree",
        ),
    ),
    ("each tick, per host", "1", "GPU count", ("nvmlDeviceGetCount",)),
    (
        "each tick",
        "5",
        "UUID, memory, power, power limit, energy",
        (
            "nvmlDeviceGetUUID",
            "nvmlDeviceGetMemoryInfo",
            "nvmlDeviceGetPowerUsage",
            "nvmlDeviceGetEnforcedPowerLimit",
            "nvmlDeviceGetPowerManagementLimit",
            "nvmlDeviceGetTotalEnergyConsumption",
        ),
    ),
    (
        "each tick",
        "2",
        "utilization: by GPM from Hopper on, else by the driver's samples",
        (
            "nvmlGpmSampleGet",
            "nvmlGpmMetricsGet",
            "nvmlDeviceGetSamples",
            "nvmlDeviceGetUtilizationRates",
        ),
    ),
    ("each tick", "1 without processes, else 2", "processes", ("nvmlDeviceGetComputeRunningProcesses",)),
    (
        "each tick, with several processes",
        "1 or 2",
        "their utilization",
        ("nvmlDeviceGetProcessUtilization",),
    ),
    (
        "every 30 s, on process changes, each tick with clients; never without processes",
        "1 or 2",
        "MPS clients",
        ("nvmlDeviceGetMPSComputeRunningProcesses",),
    ),
    ("every 30 s", "1", "MIG mode", ("nvmlDeviceGetMigMode",)),
    (
        "MIG, each tick",
        "2 per GPU instance",
        "utilization by GPM, where it works",
        (
            "nvmlGpmMigSampleGet",
            "nvmlGpmMetricsGet",
        ),
    ),
    (
        "MIG, every 30 s",
        "2, and 1 per possible and per actual instance",
        "layout",
        (
            "nvmlDeviceGetMaxMigDeviceCount",
            "nvmlDeviceGetMigDeviceHandleByIndex",
            "nvmlDeviceGetGpuInstanceId",
            "nvmlDeviceGetComputeInstanceId",
            "nvmlDeviceGetAttributes",
        ),
    ),
    (
        "MIG, every 30 s",
        "1 to 4 per instance",
        "processes and MPS clients",
        (
            "nvmlDeviceGetComputeRunningProcesses",
            "nvmlDeviceGetMPSComputeRunningProcesses",
        ),
    ),
)
"""When each function is called, how often for a GPU, and why; some functions stand in for older ones."""


def nvml_calls() -> str:
    """The functions of NVML that the package calls.

    Raises:
        ValueError: a function is called and not listed, or listed and not called.
    """
    pattern = re.compile(r"\bnvml(?:System|Device|Gpm(?:Mig)?Sample|GpmMetrics|GpmQuery)[A-Z]\w+")
    called = {
        name for path in PACKAGE.rglob("*.py") for name in pattern.findall(path.read_text(encoding="utf-8"))
    }
    listed = {name for *_, names in NVML_CALLS for name in names}
    if called != listed:
        raise ValueError(f"docs/generators/outbound.py: list {called ^ listed}")
    rows = [
        (when, calls, purpose, ", ".join(f"`{name}`" for name in names))
        for when, calls, purpose, names in NVML_CALLS
    ]
    return table(("when", "calls per GPU", "purpose", "functions"), rows)


REGIONS: Final = {
    ("outbound-requests.md", "cloud-requests"): cloud_requests,
    ("outbound-requests.md", "nvml-calls"): nvml_calls,
    ("outbound-requests.md", "scrape-errors"): scrape_errors,
    ("outbound-requests.md", "source-errors"): source_errors,
}
"""The function for each region, by page and name."""
