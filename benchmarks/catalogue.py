"""What the bundled catalogue costs the daemon: milliseconds and memory of the questions that a host asks.

In a process of its own, so that nothing is warm::

    python benchmarks/catalogue.py

The budget is 30 ms and 3 MiB, the import of the code included.
"""

import resource
import subprocess
import sys
import time


def main() -> int:
    """Measure once in a child that has what the daemon has loaded without the catalogue."""
    if sys.argv[1:] != ["child"]:
        return subprocess.run([sys.executable, __file__, "child"], check=False).returncode
    # What the configuration and the cost model load anyway.
    import csv  # noqa: F401, PLC0415  # measured apart
    import datetime as dt  # noqa: F401, PLC0415  # as above
    import fractions  # noqa: F401, PLC0415  # as above
    import hashlib  # noqa: F401, PLC0415  # as above

    import exporter.readings  # noqa: F401, PLC0415  # as above

    before = _resident()
    began = time.perf_counter()
    from exporter.tariff.catalogue import CATALOGUE  # noqa: PLC0415  # its import is part of the price

    imported = time.perf_counter()
    CATALOGUE.instance("aws", "p5.48xlarge", "eu-north-1")
    CATALOGUE.gpu("NVIDIA H100 80GB HBM3")
    CATALOGUE.market("H100-SXM5-80GB")
    started = time.perf_counter()
    after = _resident()
    print(f"import     {(imported - began) * 1000:8.2f} ms")
    print(f"questions  {(started - imported) * 1000:8.2f} ms")
    print(f"memory     {(after - before) / 1024:8.2f} MiB at most")
    return 0


def _resident() -> int:
    """The most memory that this process has held, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    sys.exit(main())
