"""Metrics of the meter itself: its ticks, sources, ledger, configuration, process and build."""

from collections.abc import Iterator
from typing import Final

from exporter.metrics.metric import CHARGED, Metric, Row, counter, gauge
from exporter.report import Build, Report
from exporter.units import dollars, seconds


def build_rows(build: Build) -> Iterator[Row]:
    """The one row that is known before the first tick."""
    yield (build.version, build.revision, build.python), 1.0


def _build(report: Report) -> Iterator[Row]:
    yield from build_rows(report.build)


def _last_tick(report: Report) -> Iterator[Row]:
    yield (), seconds(report.wall)


def _source_up(report: Report) -> Iterator[Row]:
    for source in report.sources:
        yield (source.source,), float(source.up)


def _source_duration(report: Report) -> Iterator[Row]:
    for source in report.sources:
        yield (source.source,), seconds(source.read_duration)


def _source_last_success(report: Report) -> Iterator[Row]:
    for source in report.sources:
        if source.last_success is not None:
            yield (source.source,), seconds(source.last_success)


def _source_errors(report: Report) -> Iterator[Row]:
    for source in report.sources:
        for reason, count in source.errors.items():
            yield (source.source, reason), float(count)


def _exposition_errors(report: Report) -> Iterator[Row]:
    for reason, count in report.exposition_errors:
        yield (reason,), float(count)


def _web_refused(report: Report) -> Iterator[Row]:
    for reason, count in report.web_refused:
        yield (reason,), float(count)


def _residual(report: Report) -> Iterator[Row]:
    if report.totals is not None:
        yield (), dollars(report.totals.residual)


def _uncharged(report: Report) -> Iterator[Row]:
    if report.totals is not None:
        yield (), seconds(report.totals.uncharged)


def _persistent(report: Report) -> Iterator[Row]:
    if report.totals is not None:
        totals = report.totals
        stays = not totals.fleeting and not totals.displaced
        yield (), float(totals.persistent and totals.writable and stays)


def _last_commit(report: Report) -> Iterator[Row]:
    if report.totals is not None and report.totals.last_commit is not None:
        yield (), seconds(report.totals.last_commit)


def _begun(report: Report) -> Iterator[Row]:
    if report.totals is not None and report.totals.begun is not None:
        yield (), seconds(report.totals.begun)


def _config(report: Report) -> Iterator[Row]:
    yield (report.config.hash,), 1.0


def _reload_success(report: Report) -> Iterator[Row]:
    yield (), float(report.config.last_reload_success)


def _reload_instant(report: Report) -> Iterator[Row]:
    yield (), seconds(report.config.last_reload)


def _web_reload_success(report: Report) -> Iterator[Row]:
    if report.config.web_last_reload_success is not None:
        yield (), float(report.config.web_last_reload_success)


def _resident_memory(report: Report) -> Iterator[Row]:
    if report.process is not None:
        yield (), float(report.process.resident_memory_bytes)


def _cpu(report: Report) -> Iterator[Row]:
    if report.process is not None:
        yield (), report.process.cpu_seconds


def _started(report: Report) -> Iterator[Row]:
    if report.process is not None:
        yield (), seconds(report.process.started)


EXPORTER_INFO: Final = gauge(
    "inference_exporter_info",
    ("version", "revision", "python"),
    "Version of the exporter. Never absent.",
    _build,
    lasting=True,
)

ROWS: Final[tuple[Metric, ...]] = (
    gauge(
        "inference_last_tick_timestamp_seconds",
        (),
        "When the readings behind this page were taken. After three intervals without a tick, gauges are "
        "absent and counters stay. Absent until the first tick.",
        _last_tick,
        lasting=True,
    ),
    gauge(
        "inference_source_up",
        ("source",),
        "1: the source answered when it was last read. 0: it failed. cloud is read until it has answered, "
        "all others in each tick. Absent for a source that is not in use.",
        _source_up,
    ),
    gauge(
        "inference_source_read_duration_seconds",
        ("source",),
        "How long the last read of the source took. Absent for a source that is not in use.",
        _source_duration,
    ),
    gauge(
        "inference_source_last_success_timestamp_seconds",
        ("source",),
        "When the source was last read. Absent when it has not been read since the start.",
        _source_last_success,
    ),
    counter(
        "inference_source_errors_total",
        ("source", "reason"),
        "Failures of the source since the start, partial ones included. "
        "Absent for a reason that has not occurred.",
        _source_errors,
    ),
    counter(
        "inference_exposition_errors_total",
        ("reason",),
        "Metrics omitted because of an error (raised), and rows omitted (duplicate, not_finite), in earlier "
        "reports since the start. The log names each the first time. Any value is a bug. Absent for a "
        "reason that has not occurred.",
        _exposition_errors,
    ),
    gauge(
        "inference_ledger_residual_dollars",
        (),
        f"Dollars accrued minus dollars posted. Any value but 0 is a bug. Absent {CHARGED}.",
        _residual,
    ),
    counter(
        "inference_gap_uncharged_seconds_total",
        (),
        f"Time without a tick that was longer than gap.max_days and was not charged. Absent {CHARGED}.",
        _uncharged,
    ),
    gauge(
        "inference_ledger_persistent",
        (),
        "1: the ledger is on persistent disk. 0: it is in memory, is not writable, is on a pod's "
        "emptyDir, or its file was replaced while the daemon ran; a restart would lose data. Absent "
        f"{CHARGED}.",
        _persistent,
    ),
    gauge(
        "inference_ledger_last_commit_timestamp_seconds",
        (),
        "When the ledger was last written. Absent when it has not been written since the start.",
        _last_commit,
        lasting=True,
    ),
    gauge(
        "inference_ledger_begun_timestamp_seconds",
        (),
        "Creation time of this ledger. A later value is a new ledger: the previous file was lost or "
        "moved aside, and totals restarted at 0. Absent for a ledger in memory, and for one of a release "
        "without this record.",
        _begun,
        lasting=True,
    ),
    gauge(
        "inference_config_info",
        ("hash",),
        "The configuration in force; hash is of the file, empty without one. Absent until the first tick.",
        _config,
        lasting=True,
    ),
    gauge(
        "inference_config_last_reload_success",
        (),
        "1: the last load of the configuration succeeded. 0: it failed and the one before is in force. "
        "Absent until the first tick.",
        _reload_success,
        lasting=True,
    ),
    gauge(
        "inference_config_last_reload_timestamp_seconds",
        (),
        "When the configuration was last loaded, or failed to load. Absent until the first tick.",
        _reload_instant,
        lasting=True,
    ),
    gauge(
        "inference_web_config_last_reload_success",
        (),
        "1: the last load of the web configuration, its certificates included, succeeded. 0: it failed and "
        "the one before is in force. Absent without a web configuration, and until the first tick.",
        _web_reload_success,
        lasting=True,
    ),
    counter(
        "inference_web_refused_requests_total",
        ("reason",),
        "HTTP requests that were refused since the start, by reason. Reasons: wrong_password and "
        "no_password, busy (too many passwords or pages at once), rate_limit, unknown_host (a browser that "
        "asked for another site's name), cross_site, plain_http. Reasons of reloads: reload_off and "
        "reload_rate. Absent until the first tick.",
        _web_refused,
    ),
    EXPORTER_INFO,
    gauge(
        "process_resident_memory_bytes",
        (),
        "Resident memory of the exporter, sampled at the tick. Absent when it could not be read.",
        _resident_memory,
    ),
    counter(
        "process_cpu_seconds_total",
        (),
        "CPU time of the exporter, sampled at the tick. Absent when it could not be read.",
        _cpu,
    ),
    gauge(
        "process_start_time_seconds",
        (),
        "When the exporter started, since the epoch. Absent when it could not be read.",
        _started,
        lasting=True,
    ),
)
