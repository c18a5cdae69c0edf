"""What the tests of processes share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.clock import SystemClock
from exporter.sources.processes import ProcessGroup, ProcessSource
from tests.sources.processes.proc_host import ProcHost

Read = Callable[..., tuple[ProcessGroup, ...]]


@pytest.fixture
def host(tmp_path: Path) -> ProcHost:
    return ProcHost(tmp_path)


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """The groups of a host that was written, given what NVML lists."""
    return lambda *pids: ProcessSource(SystemClock(), root=tmp_path).read(pids).groups
