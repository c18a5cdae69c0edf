"""The exporter with a clock that a test sets forward: `python -m tests.e2e.shifted_clock serve ...`.

SHIFTED_CLOCK is `BEGAN WALL FILE`: at the boot clock BEGAN the wall clock is WALL, both in nanoseconds.
FILE has the nanoseconds by which both are ahead of that now, and the boot clock at the last boot.
A test that writes it lets time pass, or boots the host.
"""

import os
import sys
import time
from pathlib import Path

from exporter.cli import main
from exporter.clock import SystemClock


class ShiftedTime:
    """The time of a test's host, for the test and for its daemon."""

    def __init__(self, file: Path, began: int, wall: int) -> None:
        self.file, self.began, self._wall = file, began, wall

    @classmethod
    def begin(cls, folder: Path, wall: int) -> "ShiftedTime":
        """A host whose wall clock shows `wall` now."""
        begun = cls(folder / "ahead", time.clock_gettime_ns(time.CLOCK_BOOTTIME), wall)
        begun._write(0, 0)
        return begun

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to live in this time."""
        return {"SHIFTED_CLOCK": f"{self.began} {self._wall} {self.file}"}

    def _read(self) -> tuple[int, int]:
        ahead, booted = map(int, self.file.read_text(encoding="ascii").split())
        return ahead, booted

    def _write(self, ahead: int, booted: int) -> None:
        written = self.file.with_suffix(".new")
        written.write_text(f"{ahead} {booted}", encoding="ascii")
        written.replace(self.file)

    def _boot_clock(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) + self._read()[0]

    def elapsed(self) -> int:
        """The time since the last boot."""
        return self._boot_clock() - self._read()[1]

    def boot(self) -> str:
        """The id of that boot."""
        return f"boot-{self._read()[1]}"

    def wall(self) -> int:
        """The wall clock."""
        return self._wall + self._boot_clock() - self.began

    def shift(self, nanoseconds: int) -> None:
        """Let time pass."""
        ahead, booted = self._read()
        self._write(ahead + nanoseconds, booted)

    def reboot(self) -> None:
        """Boot the host now; no daemon may run."""
        self._write(self._read()[0], self._boot_clock())


def run() -> int:
    """Run the exporter in that time."""
    began, wall, file = os.environ["SHIFTED_CLOCK"].split(maxsplit=2)
    host = ShiftedTime(Path(file), int(began), int(wall))
    for name, method in {
        "elapsed": lambda _clock: host.elapsed(),
        "awake": lambda _clock: host.elapsed(),
        "boot": lambda _clock: host.boot(),
        "wall": lambda _clock: host.wall(),
        "synchronized": lambda _clock: True,
    }.items():
        setattr(SystemClock, name, method)
    return main()


if __name__ == "__main__":
    sys.exit(run())
