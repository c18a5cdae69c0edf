"""Standard families of a process, as the client library of Prometheus names them."""

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from exporter.report import StandardFamily


def standard_process(
    *, memory_bytes: float, cpu_seconds: float, started: float
) -> tuple[StandardFamily, ...]:
    """The families of a process of a known size. `started` is in seconds since the epoch."""
    collections = CounterMetricFamily(
        "python_gc_collections", "Number of times this generation was collected", labels=["generation"]
    )
    collections.add_metric(["0"], 84.0)
    return (
        GaugeMetricFamily("process_resident_memory_bytes", "Resident memory size in bytes.", memory_bytes),
        GaugeMetricFamily(
            "process_start_time_seconds", "Start time of the process since unix epoch in seconds.", started
        ),
        CounterMetricFamily(
            "process_cpu_seconds", "Total user and system CPU time spent in seconds.", cpu_seconds
        ),
        collections,
    )
