"""Standard families of a process, as the client library of Prometheus names them."""

from exporter.report import StandardFamily, StandardSample


def standard_process(
    *, memory_bytes: float, cpu_seconds: float, started: float
) -> tuple[StandardFamily, ...]:
    """The families of a process of a known size. `started` is in seconds since the epoch."""
    return (
        StandardFamily(
            "process_resident_memory_bytes",
            "gauge",
            "Resident memory size in bytes.",
            (StandardSample("process_resident_memory_bytes", (), memory_bytes),),
        ),
        StandardFamily(
            "process_start_time_seconds",
            "gauge",
            "Start time of the process since unix epoch in seconds.",
            (StandardSample("process_start_time_seconds", (), started),),
        ),
        StandardFamily(
            "process_cpu_seconds",
            "counter",
            "Total user and system CPU time spent in seconds.",
            (StandardSample("process_cpu_seconds_total", (), cpu_seconds),),
        ),
        StandardFamily(
            "python_gc_collections",
            "counter",
            "Number of times this generation was collected",
            (StandardSample("python_gc_collections_total", (("generation", "0"),), 84.0),),
        ),
    )
