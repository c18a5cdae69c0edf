"""Metrics of the meter itself: its ticks, sources, ledger, configuration, process and build."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from exporter.metrics import metric
from exporter.report import Build, CommittedTotals, Report, SourceRow
from exporter.units import dollars, seconds


def build_rows(build: Build) -> Iterator[metric.Row]:
    """The one row that is known before the first tick."""
    yield (build.version, build.revision, build.python), 1.0


def _of_sources(value: Callable[[SourceRow], float | None]) -> metric.Rows:
    """A row of each source; none where the value is unknown."""

    def rows(report: Report) -> Iterator[metric.Row]:
        for source in report.sources:
            known = value(source)
            if known is not None:
                yield (source.source,), known

    return rows


def _source_errors(report: Report) -> Iterator[metric.Row]:
    for source in report.sources:
        for reason, count in source.errors.items():
            yield (source.source, reason), float(count)


def _by_reason(counts: Callable[[Report], Iterable[tuple[str, int]]]) -> metric.Rows:
    """A row of each reason."""
    return lambda report: [((reason,), float(count)) for reason, count in counts(report)]


def _persistent(totals: CommittedTotals) -> bool:
    return totals.persistent and totals.writable and not totals.fleeting and not totals.displaced


EXPORTER_INFO: Final = metric.gauge(
    "inference_exporter_info",
    ("version", "revision", "python"),
    "Version of the exporter. Never absent.",
    lambda report: build_rows(report.build),
    lasting=True,
)

ROWS: Final[tuple[metric.Metric, ...]] = (
    metric.gauge(
        "inference_last_tick_timestamp_seconds",
        (),
        "When the readings behind this page were taken. After three intervals without a tick, gauges are "
        "absent and counters stay. Absent until the first tick.",
        metric.single(lambda report: seconds(report.wall)),
        lasting=True,
    ),
    metric.gauge(
        "inference_source_up",
        ("source",),
        "1: the source answered when it was last read. 0: it failed. cloud is read until it has answered, "
        "all others in each tick. Absent for a source that is not in use.",
        _of_sources(lambda source: float(source.up)),
    ),
    metric.gauge(
        "inference_source_read_duration_seconds",
        ("source",),
        "How long the last read of the source took. Absent for a source that is not in use.",
        _of_sources(lambda source: seconds(source.read_duration)),
    ),
    metric.gauge(
        "inference_source_last_success_timestamp_seconds",
        ("source",),
        "When the source was last read. Absent when it has not been read since the start.",
        _of_sources(lambda source: metric.optional_seconds(source.last_success)),
    ),
    metric.counter(
        "inference_source_errors_total",
        ("source", "reason"),
        "Failures of the source since the start, partial ones included. "
        "Absent for a reason that has not occurred.",
        _source_errors,
    ),
    metric.counter(
        "inference_exposition_errors_total",
        ("reason",),
        "Metrics omitted because of an error (raised), and rows omitted (duplicate, not_finite), in earlier "
        "reports since the start. The log names each the first time. Any value is a bug. Absent for a "
        "reason that has not occurred.",
        _by_reason(lambda report: report.exposition_errors),
    ),
    metric.gauge(
        "inference_ledger_residual_dollars",
        (),
        f"Dollars accrued minus dollars posted. Any value but 0 is a bug. Absent {metric.CHARGED}.",
        metric.single_of_totals(lambda totals: dollars(totals.residual)),
    ),
    metric.counter(
        "inference_gap_uncharged_seconds_total",
        (),
        "Time without a tick that was longer than gap.max_days and was not charged. Absent "
        f"{metric.CHARGED}.",
        metric.single_of_totals(lambda totals: seconds(totals.uncharged)),
    ),
    metric.gauge(
        "inference_ledger_persistent",
        (),
        "1: the ledger is on persistent disk. 0: it is in memory, is not writable, is on a pod's "
        "emptyDir, or its file was replaced while the daemon ran; a restart would lose data. Absent "
        f"{metric.CHARGED}.",
        metric.single_of_totals(_persistent),
    ),
    metric.gauge(
        "inference_ledger_last_commit_timestamp_seconds",
        (),
        "When the ledger was last written. Absent when it has not been written since the start.",
        metric.single_of_totals(lambda totals: metric.optional_seconds(totals.last_commit)),
        lasting=True,
    ),
    metric.gauge(
        "inference_ledger_begun_timestamp_seconds",
        (),
        "Creation time of this ledger. A later value is a new ledger: the previous file was lost or "
        "moved aside, and totals restarted at 0. Absent for a ledger in memory, and for one of a release "
        "without this record.",
        metric.single_of_totals(lambda totals: metric.optional_seconds(totals.begun)),
        lasting=True,
    ),
    metric.gauge(
        "inference_config_info",
        ("hash",),
        "The configuration in force; hash is of the file, empty without one. Absent until the first tick.",
        lambda report: [((report.config.hash,), 1.0)],
        lasting=True,
    ),
    metric.gauge(
        "inference_config_last_reload_success",
        (),
        "1: the last load of the configuration succeeded. 0: it failed and the one before is in force. "
        "Absent until the first tick.",
        metric.single(lambda report: report.config.last_reload_success),
        lasting=True,
    ),
    metric.gauge(
        "inference_config_last_reload_timestamp_seconds",
        (),
        "When the configuration was last loaded, or failed to load. Absent until the first tick.",
        metric.single(lambda report: seconds(report.config.last_reload)),
        lasting=True,
    ),
    metric.gauge(
        "inference_web_config_last_reload_success",
        (),
        "1: the last load of the web configuration, its certificates included, succeeded. 0: it failed and "
        "the one before is in force. Absent without a web configuration, and until the first tick.",
        metric.single(lambda report: report.config.web_last_reload_success),
        lasting=True,
    ),
    metric.counter(
        "inference_web_refused_requests_total",
        ("reason",),
        "HTTP requests that were refused since the start, by reason. Reasons: wrong_password and "
        "no_password, busy (too many passwords or pages at once), rate_limit, unknown_host (a browser that "
        "asked for another site's name), cross_site, plain_http. Reasons of reloads: reload_off and "
        "reload_rate. Absent until the first tick.",
        _by_reason(lambda report: report.web_refused),
    ),
    EXPORTER_INFO,
)
