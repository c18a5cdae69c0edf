"""Times are written of a quiet machine, else as ratios to a peer of the same run."""

from benchmarks.quiet import LOAD_MAX, PAUSE_SECONDS, load_of_others
from benchmarks.results import Row, table

OURS, PEER = "ours", "peer"


class Machine:
    """A machine whose load is as listed, one at each look; waiting takes no time but its own clock's."""

    def __init__(self, *loads: float) -> None:
        self.loads = [*loads]
        self.now = 0.0

    def load(self) -> float:
        return self.loads.pop(0) if len(self.loads) > 1 else self.loads[0]

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def wait(self, patience: float) -> float | None:
        return load_of_others(patience, self.load, lambda: self.now, self.sleep)


def test_a_benchmark_waits_until_others_are_done_and_no_longer_than_it_may() -> None:
    quiet, later, busy = Machine(LOAD_MAX), Machine(8.0, 3.0, 0.2), Machine(8.0)

    assert [machine.wait(60) for machine in (quiet, later, busy)] == [None, None, 8.0]
    assert [machine.now for machine in (quiet, later, busy)] == [0, 2 * PAUSE_SECONDS, 60]


def test_of_a_busy_machine_only_ratios_of_times_are_written() -> None:
    """3 ms beside a peer's 6 are half of it, whatever else ran; memory is what it is."""
    rows = [
        Row("CPU", OURS, "ms", (3.0,)),
        Row("CPU", PEER, "ms", (6.0,)),
        Row("memory", OURS, "MiB", (40.0,)),
        Row("memory", PEER, "MiB", (32.0,)),
    ]
    assert table(rows, OURS, 8.0).splitlines()[2:] == [
        "| CPU | peer | - | - | 1 | 0.5 times it, at a load of 8.0 |",
        "| memory | ours | 40 MiB | 40 to 40 | 1 |  |",
        "| memory | peer | 32 MiB | 32 to 32 | 1 | 1.2 times it |",
    ]
    assert table(rows, OURS).splitlines()[2:4] == [
        "| CPU | ours | 3 ms | 3 to 3 | 1 |  |",
        "| CPU | peer | 6 ms | 6 to 6 | 1 | 0.5 times it |",
    ]
